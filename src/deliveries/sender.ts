import { isIP } from 'node:net'
import got, { RequestError, type Response } from 'got'
import type { Connector } from '../net/outbound.ts'
import { isPublicAddress, PrivateAddressError } from '../net/public-address.ts'
import { parseRetryAfter } from '../net/retry-after.ts'
import type { DeliveryAnswer, DeliverySender } from './outbox.ts'
import type { Clock } from '../tasks/ports.ts'

export interface DeliverySenderOptions {
  /** How long one attempt may take altogether. */
  readonly timeoutMs: number
  /** Hosts that may be private: names or addresses, exactly. */
  readonly allowedHosts: readonly string[]
  readonly connector: Connector
  readonly clock: Clock
}

/** Only the status of the answer is used. */
const MAX_ANSWER_BYTES = 16 * 1024

/**
 * Posts to callers' servers, and only to public addresses: each connection is new, and its address is checked after DNS
 * resolution, because the name may resolve differently than at input. Redirects are not followed. Disposing aborts attempts.
 */
export function createDeliverySender(options: DeliverySenderOptions): DeliverySender & Disposable {
  const ended = new AbortController()
  // No keep-alive: a reused connection would skip the address check.
  const guarded = options.connector.open({ guarded: true })
  const open = options.connector.open()
  return {
    async send(url, headers, body) {
      const { hostname } = new URL(url)
      const isAllowed = options.allowedHosts.includes(hostname)
      const address = hostname.replace(/^\[|\]$/g, '')
      if (!isAllowed && isIP(address) !== 0 && !isPublicAddress(address))
        return { kind: 'unanswered', cause: new PrivateAddressError(hostname, [address]).message }
      const answer = await new Promise<DeliveryAnswer>((resolve) => {
        let response: Response | undefined
        let size = 0
        const finish = (cause: string) => {
          if (response === undefined) {
            resolve({ kind: 'unanswered', cause })
            return
          }
          const retryAfterMs = parseRetryAfter(response.headers['retry-after'], options.clock.now())
          resolve({ kind: 'answered', status: response.statusCode, retryAfterMs })
        }
        const stream = got.stream(url, {
          method: 'POST',
          headers: { ...headers, 'content-type': 'application/json', 'user-agent': 'upscale-gateway' },
          body,
          agent: (isAllowed ? open : guarded).agentsFor(url),
          followRedirect: false,
          throwHttpErrors: false,
          retry: { limit: 0 },
          decompress: false,
          timeout: { request: options.timeoutMs },
          signal: ended.signal,
        })
        stream.on('response', (head: Response) => (response = head))
        stream.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > MAX_ANSWER_BYTES) stream.destroy()
        })
        stream.on('error', (error: Error) => finish(toCause(error)))
        for (const event of ['end', 'close']) stream.on(event, () => finish('the connection was closed'))
      })
      return ended.signal.aborted && answer.kind === 'unanswered' ? 'cut short' : answer
    },
    [Symbol.dispose]() {
      ended.abort()
      guarded[Symbol.dispose]()
      open[Symbol.dispose]()
    },
  }
}

function toCause(error: Error): string {
  return error instanceof RequestError ? `${error.code}: ${error.message}` : error.message
}
