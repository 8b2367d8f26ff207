import { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'
import type { ResolverOptions } from '../net/lookup.ts'
import { createConnector } from './redis-connector.ts'
import { explainRedisError } from './redis-errors.ts'

const PING_EVERY_MS = 2_000
const ANSWER_TIMEOUT_MS = 1_000
const MAX_BACK_OFF_MS = 2_000
const REPORT_EVERY_MS = 60_000
const MAX_REASONS = 20
const CLOSED = 'the server closed the connection without an answer'
/** Ignores a rejection that the client has already reported. */
export const ignoreReported = (): void => undefined

/** The options of ioredis in which our clients differ. */
interface RedisClientOptions {
  readonly autoResubscribe?: boolean
  readonly enableOfflineQueue?: boolean
  readonly commandTimeout?: number
  /** How host names are resolved. */
  readonly names?: ResolverOptions
}

/**
 * A client of Redis (or Valkey) that reports every fault once a minute, and reconnects if the server does not
 * answer.
 */
class MonitoredRedis extends Redis implements Disposable {
  readonly #onFault: (reason: string) => void
  readonly #reported = new LRUCache<string, true>({ max: MAX_REASONS, ttl: REPORT_EVERY_MS })
  readonly #pinging: NodeJS.Timeout
  #isUnanswered = false

  constructor(
    url: string,
    { names = {}, ...options }: RedisClientOptions,
    onFault: (reason: string) => void,
  ) {
    super(url, {
      Connector: createConnector(url, names),
      lazyConnect: true,
      connectTimeout: ANSWER_TIMEOUT_MS,
      // Without this timeout, ioredis waits for an answer for ever.
      socketTimeout: ANSWER_TIMEOUT_MS,
      maxRetriesPerRequest: null,
      // Older servers do not know the command, and reply with an error.
      disableClientInfo: true,
      retryStrategy: (times: number) => Math.min(times * 100, MAX_BACK_OFF_MS),
      // After a failover the host name may resolve to the new primary.
      reconnectOnError: ({ message }) => message.startsWith('READONLY'),
      ...options,
    })
    this.#onFault = onFault
    this.on('error', (error: Error) => this.#report(error))
    // A server that requires TLS, or is not Redis, closes without a reason, and ioredis does not report that
    // as an error.
    this.on('connect', () => (this.#isUnanswered = true))
    this.on('ready', () => (this.#isUnanswered = false))
    this.on('close', () => {
      if (this.#isUnanswered) this.#report(Object.assign(new Error(CLOSED), { code: 'ECONNRESET' }))
    })
    this.#pinging = setInterval(() => {
      if (this.status === 'ready') this.ping().catch(ignoreReported)
    }, PING_EVERY_MS)
  }

  /** Reports every error reply, even if the caller ignores the command's promise. */
  override sendCommand(...[command, stream]: Parameters<Redis['sendCommand']>): unknown {
    command.promise.catch((error: unknown) => {
      // NOSCRIPT is not an error: ioredis then sends the whole script.
      const isReply = error instanceof Error && error.name === 'ReplyError'
      if (isReply && !error.message.startsWith('NOSCRIPT')) this.#report(error)
    })
    return super.sendCommand(command, stream)
  }

  #report(error: Error): void {
    this.#isUnanswered = false
    const reason = explainRedisError(error)
    if (this.#reported.has(reason)) return
    this.#reported.set(reason, true)
    this.#onFault(reason)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#pinging)
    this.#isUnanswered = false
    this.disconnect()
  }
}

/**
 * Resolves once connected, or when the first attempt has failed: the service starts and runs without Redis.
 */
export async function openRedisClient(
  url: string,
  options: RedisClientOptions,
  /** Called with each kind of fault, with reason and remedy, at most once a minute. */
  onFault: (reason: string) => void,
): Promise<Redis & Disposable> {
  const redis = new MonitoredRedis(url, options, onFault)
  await redis.connect().catch(ignoreReported)
  return redis
}
