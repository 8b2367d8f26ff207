import { Redis } from 'ioredis'

const CHECK_EVERY_MS = 2_000
const ANSWER_TIMEOUT_MS = 1_000
const MAX_BACK_OFF_MS = 2_000

/** Those of ioredis's options in which our clients differ. */
export interface RedisClientOptions {
  readonly autoResubscribe?: boolean
  readonly enableOfflineQueue?: boolean
  readonly commandTimeout?: number
}

/**
 * A client of Redis (or Valkey) that finds out when its server has gone without a word: ioredis would wait for it
 * for ever. It connects again by itself; `onError` is told why it has to. Resolves once connected, or when that
 * has failed for the first time.
 */
export async function openRedisClient(
  url: string,
  options: RedisClientOptions,
  onError: (error: Error) => void,
): Promise<{ readonly redis: Redis } & Disposable> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: ANSWER_TIMEOUT_MS,
    maxRetriesPerRequest: null,
    retryStrategy: (times: number) => Math.min(times * 100, MAX_BACK_OFF_MS),
    ...options,
  })
  redis.on('error', onError)
  const watchdog = setInterval(() => {
    if (redis.status !== 'ready') return
    const deadline = setTimeout(() => {
      onError(new Error('Redis does not answer'))
      redis.disconnect(true)
    }, ANSWER_TIMEOUT_MS)
    redis.ping().then(
      () => clearTimeout(deadline),
      () => clearTimeout(deadline),
    )
  }, CHECK_EVERY_MS)
  // Without Redis the service starts as it goes on without.
  await redis.connect().catch(() => undefined)
  return {
    redis,
    [Symbol.dispose]() {
      clearInterval(watchdog)
      redis.disconnect()
    },
  }
}
