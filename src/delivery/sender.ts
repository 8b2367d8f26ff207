import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { LookupFunction } from 'node:net'
import got, { RequestError, type Response } from 'got'
import { RequestFilteringHttpAgent, RequestFilteringHttpsAgent } from 'request-filtering-agent'
import type { DeliveryAnswer, DeliverySender } from '../tasks/delivery.ts'
import type { Clock } from '../tasks/ports.ts'

export interface DeliverySenderOptions {
  /** How long one attempt may take altogether. */
  readonly timeoutMs: number
  /** Hosts that are told although they are private: names or addresses, exactly. */
  readonly allowedHosts: readonly string[]
  /** How names become addresses, but for those that are allowed: these are resolved in the system's way. */
  readonly lookup: LookupFunction
  /** Reads a Retry-After header: milliseconds, or null. */
  parseRetryAfter(header: string | undefined, now: number): number | null
  readonly clock: Clock
}

/** What a receiver says beyond its status is of no interest. */
const MAX_ANSWER_BYTES = 16 * 1024

/**
 * Posts to callers' servers. Every connection is its own and is checked after the name was resolved: a name
 * that pointed elsewhere when it was given in is judged by where it points now. Redirects are not followed.
 * Disposing cuts short what is under way.
 */
export function createDeliverySender(options: DeliverySenderOptions): DeliverySender & Disposable {
  const ended = new AbortController()
  // Never pooled: a kept connection would not be checked again.
  const guarded = {
    http: new RequestFilteringHttpAgent({ keepAlive: false }),
    https: new RequestFilteringHttpsAgent({ keepAlive: false }),
  }
  const open = { http: new HttpAgent({ keepAlive: false }), https: new HttpsAgent({ keepAlive: false }) }
  return {
    async send(url, headers, body) {
      const answer = await new Promise<DeliveryAnswer>((resolve) => {
        let response: Response | undefined
        let size = 0
        const finish = (cause: string) => {
          if (response === undefined) {
            resolve({ kind: 'unanswered', cause })
            return
          }
          const retryAfterMs = options.parseRetryAfter(response.headers['retry-after'], options.clock.now())
          resolve({ kind: 'answered', status: response.statusCode, retryAfterMs })
        }
        const stream = got.stream(url, {
          method: 'POST',
          headers: { ...headers, 'content-type': 'application/json', 'user-agent': 'upscale-gateway' },
          body,
          ...(options.allowedHosts.includes(new URL(url).hostname)
            ? { agent: open }
            : { agent: guarded, dnsLookup: options.lookup }),
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
    [Symbol.dispose]: () => ended.abort(),
  }
}

function toCause(error: Error): string {
  return error instanceof RequestError ? `${error.code}: ${error.message}` : error.message
}
