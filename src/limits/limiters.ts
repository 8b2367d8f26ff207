import type { Redis } from 'ioredis'
import type { Pool } from 'pg'
import {
  RateLimiterMemory,
  RateLimiterPostgres,
  RateLimiterRedis,
  type RateLimiterAbstract,
} from 'rate-limiter-flexible'

/** So many in so much time. */
export interface Rate {
  readonly limit: number
  readonly perMs: number
}

/** Makes a limiter; those of one name share their counts. */
export type CreateLimiter = (name: string, rate: Rate) => RateLimiterAbstract

const toOptions = (name: string, { limit, perMs }: Rate) => ({
  keyPrefix: `upscale:limit:${name}`,
  points: limit,
  duration: perMs / 1_000,
})

/** Counts of this process alone. */
export const createMemoryLimiter: CreateLimiter = (name, rate) => new RateLimiterMemory(toOptions(name, rate))

/** Counts that all replicas share in Redis; while it is away each replica counts for itself. */
export function createRedisLimiter(redis: Redis): CreateLimiter {
  return (name, rate) => {
    const own = createMemoryLimiter(name, rate)
    const consume = own.consume.bind(own)
    own.consume = (...args) => {
      // One that was waited for in vain is not asked again before it answers.
      if (redis.status === 'ready') redis.disconnect(true)
      return consume(...args)
    }
    return new RateLimiterRedis({
      ...toOptions(name, rate),
      storeClient: redis,
      rejectIfRedisNotReady: true,
      insuranceLimiter: own,
    })
  }
}

/** Counts that all replicas share in PostgreSQL, in the table `rate_limit`. */
export function createPostgresLimiter(pool: Pool): CreateLimiter {
  return (name, rate) =>
    new RateLimiterPostgres({
      ...toOptions(name, rate),
      storeClient: pool,
      storeType: 'pool',
      tableName: 'rate_limit',
      tableCreated: true,
    })
}
