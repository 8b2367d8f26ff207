import { isPermanent, isTokenExpired, toAuthError } from './errors.ts'
import { randomRetryMs, wait } from './retry.ts'

export interface ConnectionSettings {
  /** The WebSocket URL of the gateway, or of a router in front of it: `wss://…/graphql`. */
  readonly url: string
  /**
   * Returns the `Authorization` value (`Bearer …`) for each new connection; refresh an expired token here. It
   * is awaited before the connection is opened, so it has no time limit. If it rejects, it is retried as
   * after a lost connection.
   */
  readonly getAuthorization?: () => string | undefined | Promise<string | undefined>
  /** Opens the connection for a caller without a bearer token. */
  readonly watchToken?: string
}

/** The options of `createClient` of graphql-ws that `toClientOptions` sets. */
export interface SocketOptions {
  readonly url: () => Promise<string>
  readonly connectionParams: () => Promise<Record<string, unknown>>
  readonly retryAttempts: number
  readonly retryWait: (retries: number) => Promise<void>
  readonly shouldRetry: (failure: unknown) => boolean
  readonly keepAlive: number
  readonly on: {
    readonly opened: (socket: unknown) => void
    readonly ping: (received: boolean) => void
    readonly pong: (received: boolean) => void
    readonly closed: (event: unknown) => void
  }
}

const PING_INTERVAL_MS = 10_000
const PONG_TIMEOUT_MS = 5_000
/** This client's close code: no pong arrived in time. */
const CONNECTION_LOST = 4408

/**
 * Options for graphql-ws's `createClient`. A lost connection is retried without limit, after 0.5 s at first
 * and at most 30 s, with jitter, so that many clients do not reconnect at once. Pings find a dead connection
 * within 15 s. Operations fail only if the token is refused (4401, HTTP 401 and 403, or 4403 unless the token
 * has expired), or if a message cannot be parsed.
 */
export function toClientOptions({ url, getAuthorization, watchToken }: ConnectionSettings): SocketOptions {
  let socket: ClosableSocket | undefined
  let pongTimer: ReturnType<typeof setTimeout> | undefined
  let authorization: Promise<string | undefined> | undefined
  return {
    // graphql-ws awaits this before it opens the socket: the server's connection_init timeout does not run
    // yet.
    async url() {
      authorization = Promise.resolve().then(() => getAuthorization?.())
      // After a rejection here graphql-ws would hang. `connectionParams` awaits the same promise, and may
      // reject.
      await authorization.catch(() => undefined)
      return url
    },
    async connectionParams() {
      // JSON omits what is undefined.
      return { Authorization: await authorization, watchToken }
    },
    retryAttempts: Infinity,
    retryWait: (retries) => wait(randomRetryMs(retries)),
    shouldRetry(failure) {
      const error = toAuthError(failure)
      return !error || !isPermanent(error) || isTokenExpired(failure)
    },
    keepAlive: PING_INTERVAL_MS,
    on: {
      opened: (opened) => (socket = opened as ClosableSocket),
      ping(received) {
        if (received) return
        const pinged = socket
        pongTimer = setTimeout(() => pinged && terminate(pinged), PONG_TIMEOUT_MS)
      },
      pong(received) {
        if (received) clearTimeout(pongTimer)
      },
      closed: () => clearTimeout(pongTimer),
    },
  }
}

interface ClosableSocket {
  close(code: number, reason: string): void
  onclose: ((event: { code: number; reason: string }) => void) | null
}

/** Reports the connection as closed at once: a dead peer never answers the close frame. */
function terminate(socket: ClosableSocket): void {
  const event = { code: CONNECTION_LOST, reason: 'No pong' }
  const { onclose } = socket
  socket.onclose = null
  socket.close(event.code, event.reason)
  onclose?.call(socket, event)
}
