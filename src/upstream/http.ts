import type { ClientRequest } from 'node:http'
import type { Socket } from 'node:net'
import got, { RequestError, type Got, type Request } from 'got'
import type { Outbound } from '../net/outbound.ts'
import { parseJson } from './json.ts'

/** An answer has a few hundred bytes. A longer answer than this is aborted. */
const MAX_ANSWER_LENGTH = 1024 * 1024

/** The part of an answer before the body. Status 0: nothing was received. */
interface Head {
  readonly status: number
  readonly retryAfter: string | undefined
}

export type Outcome =
  /** `body`: the parsed JSON; null if it is empty, undefined if it is not JSON. */
  | { readonly kind: 'answer'; readonly head: Head; readonly body: unknown }
  /** No connection was established, so nothing was sent. */
  | { readonly kind: 'unreachable'; readonly cause: string }
  /**
   * A connection was established, so the request may have arrived, but the answer is missing or incomplete.
   */
  | { readonly kind: 'lost'; readonly head: Head; readonly cause: string }

export interface UpstreamRequest {
  readonly method: 'GET' | 'POST'
  readonly outbound: Outbound
  /** JSON. */
  readonly body?: string
  readonly timeoutMs: number
  /** W3C Trace Context; null: none. */
  readonly traceparent: string | null
}

/** Sends authenticated requests. Disposing aborts those that are running. */
export class UpstreamClient implements Disposable {
  readonly #got: Got
  /**
   * No AbortSignal: each finished request would stay in its chain of listeners until a full garbage
   * collection.
   */
  readonly #running = new Set<Request>()

  constructor(headers: Readonly<Record<string, string>>) {
    this.#got = got.extend({
      headers: {
        ...headers,
        'user-agent': 'upscale-gateway',
        accept: 'application/json',
      },
      retry: { limit: 0 },
      followRedirect: false,
      throwHttpErrors: false,
      decompress: true,
    })
  }

  /**
   * Sends one request; does not throw once it has begun. The state of the socket, not an error code, proves
   * that nothing was sent: bytes leave only once the connection (with TLS: the handshake) is established.
   * Through a proxy this is the connection to the proxy for http, and the TLS connection through its tunnel
   * for https. So nothing was sent if the proxy cannot be reached or refuses the tunnel.
   */
  async send(
    url: string,
    { method, outbound, body, timeoutMs, traceparent }: UpstreamRequest,
  ): Promise<Outcome> {
    const headers = {
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(traceparent !== null && { traceparent }),
    }
    const agent = outbound.agentsFor(url)
    // A stream, because got's promise API costs more per request, and does not limit the length of an answer.
    const request = this.#got.stream(url, { method, agent, body, headers, timeout: { request: timeoutMs } })
    this.#running.add(request)
    const isConnected = observeConnection(request)
    try {
      const text = await readText(request)
      return { kind: 'answer', head: toHead(request), body: text === '' ? null : parseJson(text) }
    } catch (error) {
      // A got error holds the whole request with the API key: only its code and message are logged.
      const cause = error instanceof RequestError ? `${error.code}: ${error.message}` : String(error)
      return isConnected() ? { kind: 'lost', head: toHead(request), cause } : { kind: 'unreachable', cause }
    } finally {
      this.#running.delete(request)
    }
  }

  [Symbol.dispose](): void {
    for (const request of this.#running) request.destroy(new Error('aborted: the service is stopping'))
  }
}

/** Returns a function that says whether the connection has been established. */
function observeConnection(request: Request): () => boolean {
  let connected = false
  request.once('request', (outgoing: ClientRequest) =>
    outgoing.once('socket', (socket: Socket) => {
      const ready = 'encrypted' in socket ? 'secureConnect' : 'connect'
      if (!socket.connecting) connected = true
      else socket.once(ready, () => (connected = true))
    }),
  )
  return () => connected
}

function readText(answer: Request): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    answer.setEncoding('utf8')
    answer.on('data', (chunk: string) => {
      text += chunk
      if (text.length > MAX_ANSWER_LENGTH) answer.destroy(new Error('The answer is too long'))
    })
    // A byte order mark is not part of the JSON text.
    answer.once('end', () => resolve(text.replace(/^\ufeff/, '')))
    answer.once('error', reject)
  })
}

function toHead({ response }: Request): Head {
  return { status: response?.statusCode ?? 0, retryAfter: response?.headers['retry-after'] }
}
