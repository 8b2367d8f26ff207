import got, { RequestError, type Request } from 'got'
import { openGuard, type Guard } from '../net/guard.ts'
import type { Connector } from '../net/outbound.ts'
import { PrivateAddressError } from '../net/public-address.ts'
import { parseRetryAfter } from '../net/retry-after.ts'
import type { Clock } from '../tasks/ports.ts'
import type { DeliverySender } from './outbox.ts'

interface DeliverySenderOptions {
  /** How long one attempt may take. */
  readonly timeoutMs: number
  /** Hosts that may be private: exact names or addresses. */
  readonly allowedHosts: readonly string[]
  readonly connector: Connector
  readonly clock: Clock
}

/** Only the status of the answer is used. */
const MAX_ANSWER_BYTES = 16 * 1024

/**
 * Posts to callers' servers, and only to public addresses: each connection is new, and its address is checked
 * after DNS resolution, because the name may resolve differently than at input. Redirects are not followed.
 * Disposing aborts attempts.
 */
export function openDeliverySender(options: DeliverySenderOptions): DeliverySender & Disposable {
  const { timeoutMs, allowedHosts, connector, clock } = options
  const disposed = new AbortController()
  const guard = openGuard(connector, () => allowedHosts)
  return {
    timeoutMs,
    async send(url, headers, body) {
      const agent = findAgents(guard, url)
      if (agent instanceof PrivateAddressError) return { kind: 'unanswered', cause: agent.message }
      const request = got.stream(url, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json', 'user-agent': 'upscale-gateway' },
        body,
        agent,
        followRedirect: false,
        throwHttpErrors: false,
        retry: { limit: 0 },
        decompress: false,
        timeout: { request: timeoutMs },
        signal: disposed.signal,
      })
      const { response, cause } = await readResponse(request)
      if (response === undefined) return disposed.signal.aborted ? 'aborted' : { kind: 'unanswered', cause }
      const retryAfterMs = parseRetryAfter(response.headers['retry-after'], clock.now())
      return { kind: 'answered', status: response.statusCode, retryAfterMs }
    },
    [Symbol.dispose]() {
      disposed.abort()
      guard[Symbol.dispose]()
    },
  }
}

function findAgents(guard: Guard, url: string): ReturnType<Guard['agentsFor']> | PrivateAddressError {
  try {
    return guard.agentsFor(url)
  } catch (error) {
    if (error instanceof PrivateAddressError) return error
    throw error
  }
}

/** Waits for the end of a response or its first 16 KB; `cause` says why it ended. */
function readResponse(request: Request): Promise<{ response: Request['response']; cause: string }> {
  return new Promise((resolve) => {
    let size = 0
    const finish = (cause: string) => resolve({ response: request.response, cause })
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > MAX_ANSWER_BYTES) request.destroy()
    })
    request.on('error', (error) =>
      finish(error instanceof RequestError ? `${error.code}: ${error.message}` : error.message),
    )
    for (const event of ['end', 'close']) request.on(event, () => finish('the connection was closed'))
  })
}
