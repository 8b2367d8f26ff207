import { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'
import { explainRedisError } from './redis-errors.ts'

const PING_EVERY_MS = 2_000
const ANSWER_TIMEOUT_MS = 1_000
const MAX_BACK_OFF_MS = 2_000
const REPORT_EVERY_MS = 60_000
const MAX_REASONS = 20
const CLOSED = 'the server closed the connection without an answer'

/** Reports every error reply, even if the caller ignores the command's promise. */
class ReportingRedis extends Redis {
  readonly #onReplyError: (error: Error) => void

  constructor(url: string, options: ReturnType<typeof toOptions>, onReplyError: (error: Error) => void) {
    super(url, options)
    this.#onReplyError = onReplyError
  }

  override sendCommand(...[command, stream]: Parameters<Redis['sendCommand']>): unknown {
    command.promise.catch((error: unknown) => {
      // NOSCRIPT is not an error: ioredis then sends the whole script.
      const isReply = error instanceof Error && error.name === 'ReplyError'
      if (isReply && !error.message.startsWith('NOSCRIPT')) this.#onReplyError(error)
    })
    return super.sendCommand(command, stream)
  }
}

/** The options of ioredis in which our clients differ. */
interface RedisClientOptions {
  readonly autoResubscribe?: boolean
  readonly enableOfflineQueue?: boolean
  readonly commandTimeout?: number
}

/** Disposing disconnects. */
export interface RedisClient extends Disposable {
  readonly redis: Redis
}

/**
 * A client of Redis (or Valkey) that reconnects when the server does not answer. Resolves once connected, or when the
 * first attempt has failed: the service starts and runs without Redis. `onFault` gets each kind of fault, with reason
 * and remedy, at most once a minute.
 */
export async function openRedisClient(
  url: string,
  options: RedisClientOptions,
  onFault: (reason: string) => void,
): Promise<RedisClient> {
  const reported = new LRUCache<string, true>({ max: MAX_REASONS, ttl: REPORT_EVERY_MS })
  let isUnanswered = false
  const onError = (error: Error) => {
    isUnanswered = false
    const reason = explainRedisError(error)
    if (reported.has(reason)) return
    reported.set(reason, true)
    onFault(reason)
  }
  const redis = new ReportingRedis(url, toOptions(options), onError)
  redis.on('error', onError)
  // A server that requires TLS, or is not Redis, closes without a reason, and ioredis does not report that as an error.
  redis.on('connect', () => (isUnanswered = true))
  redis.on('ready', () => (isUnanswered = false))
  const onClose = () => {
    if (isUnanswered) onError(Object.assign(new Error(CLOSED), { code: 'ECONNRESET' }))
  }
  redis.on('close', onClose)
  // The answer, or `socketTimeout`, shows whether the server is there; both are reported as errors of the client.
  const pinging = setInterval(() => {
    if (redis.status === 'ready') redis.ping().catch(() => undefined)
  }, PING_EVERY_MS)
  await redis.connect().catch(() => undefined)
  return {
    redis,
    [Symbol.dispose]() {
      clearInterval(pinging)
      redis.off('close', onClose)
      redis.disconnect()
    },
  }
}

function toOptions(options: RedisClientOptions) {
  return {
    lazyConnect: true,
    connectTimeout: ANSWER_TIMEOUT_MS,
    // Without it, ioredis waits for an answer for ever.
    socketTimeout: ANSWER_TIMEOUT_MS,
    maxRetriesPerRequest: null,
    // Older servers do not know the command, and reply with an error.
    disableClientInfo: true,
    retryStrategy: (times: number) => Math.min(times * 100, MAX_BACK_OFF_MS),
    // After a failover the host name may lead to the new primary.
    reconnectOnError: ({ message }: Error) => message.startsWith('READONLY'),
    ...options,
  }
}
