import { Redis } from 'ioredis'
import { explainRedisError } from './redis-errors.ts'

const CHECK_EVERY_MS = 2_000
const ANSWER_TIMEOUT_MS = 1_000
const MAX_BACK_OFF_MS = 2_000
const REPORT_EVERY_MS = 60_000
const MAX_REASONS = 20
const CLOSED = 'the server closed the connection without an answer'

/** Those of ioredis's options in which our clients differ. */
export interface RedisClientOptions {
  readonly autoResubscribe?: boolean
  readonly enableOfflineQueue?: boolean
  readonly commandTimeout?: number
}

/** Reports every error reply, even if the caller ignores the command's promise. */
class ReportingRedis extends Redis {
  readonly #onReplyError: (error: Error) => void

  constructor(url: string, options: RedisClientOptions, onReplyError: (error: Error) => void) {
    super(url, {
      lazyConnect: true,
      connectTimeout: ANSWER_TIMEOUT_MS,
      maxRetriesPerRequest: null,
      // Older servers answer it with an error.
      disableClientInfo: true,
      retryStrategy: (times: number) => Math.min(times * 100, MAX_BACK_OFF_MS),
      // After a failover the host name may lead to the new primary.
      reconnectOnError: ({ message }) => message.startsWith('READONLY'),
      ...options,
    })
    this.#onReplyError = onReplyError
  }

  override sendCommand(...[command, stream]: Parameters<Redis['sendCommand']>): unknown {
    command.promise.catch((error: unknown) => {
      // Not an error: ioredis sends the whole script then.
      const isReply = error instanceof Error && error.name === 'ReplyError'
      if (isReply && !error.message.startsWith('NOSCRIPT')) this.#onReplyError(error)
    })
    return super.sendCommand(command, stream)
  }
}

/**
 * A client of Redis (or Valkey) that reconnects when the server does not answer; ioredis alone would wait for ever. Resolves
 * once connected, or when the first attempt has failed. `onFault` gets each kind of fault, with reason and remedy, at most
 * once a minute.
 */
export async function openRedisClient(
  url: string,
  options: RedisClientOptions,
  onFault: (reason: string) => void,
): Promise<{ readonly redis: Redis } & Disposable> {
  const reported = new Map<string, number>()
  let isUnanswered = false
  const onError = (error: Error) => {
    isUnanswered = false
    const reason = explainRedisError(error)
    const now = performance.now()
    if (now - (reported.get(reason) ?? -Infinity) < REPORT_EVERY_MS) return
    if (reported.size >= MAX_REASONS) reported.clear()
    reported.set(reason, now)
    onFault(reason)
  }
  const redis = new ReportingRedis(url, options, onError)
  redis.on('error', onError)
  // A server that wants TLS, or that is not Redis, closes without a reason, which ioredis does not treat as an error.
  redis.on('connect', () => (isUnanswered = true))
  redis.on('ready', () => (isUnanswered = false))
  const onClose = () => {
    if (isUnanswered) onError(Object.assign(new Error(CLOSED), { code: 'ECONNRESET' }))
  }
  redis.on('close', onClose)
  const watchdog = setInterval(() => {
    if (redis.status !== 'ready') return
    const deadline = setTimeout(() => {
      onError(new Error('it does not answer'))
      redis.disconnect(true)
    }, ANSWER_TIMEOUT_MS)
    redis.ping().then(
      () => clearTimeout(deadline),
      () => clearTimeout(deadline),
    )
  }, CHECK_EVERY_MS)
  // The service starts without Redis, as it continues without it.
  await redis.connect().catch(() => undefined)
  return {
    redis,
    [Symbol.dispose]() {
      clearInterval(watchdog)
      redis.off('close', onClose)
      redis.disconnect()
    },
  }
}
