import type { Redis } from 'ioredis'
import {
  RateLimiterMemory,
  RateLimiterRedis,
  RateLimiterRes,
  type RateLimiterAbstract,
} from 'rate-limiter-flexible'
import { toOptions, type CreateLimiter, type LimitKey } from './limit.ts'
import { consumeTogether } from './postgres-limiter.ts'

/** Counts in this process only. */
export const createMemoryLimiter: CreateLimiter = (name, rate) => new RateLimiterMemory(toOptions(name, rate))

/** Counts that all replicas share in Redis. While Redis is down, each replica counts separately. */
export function createRedisLimiter(redis: Redis): CreateLimiter {
  return (name, rate) => {
    const own = createMemoryLimiter(name, rate)
    const consume = own.consume.bind(own)
    own.consume = (...args) => {
      // After a timeout the connection is closed, so that further commands fail at once instead of after
      // their timeout.
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

/** Counts one and returns null, or returns how long to wait, in milliseconds. */
export async function consume(limiter: RateLimiterAbstract | null, key: string): Promise<number | null> {
  try {
    await limiter?.consume(key)
    return null
  } catch (refusal) {
    if (refusal instanceof RateLimiterRes) return toWait(refusal, limiter?.msDuration ?? 0)
    throw refusal
  }
}

/** Capped at one window: after the clock was set back, an in-memory window reports too long a wait. */
function toWait({ msBeforeNext }: RateLimiterRes, windowMs: number): number {
  return Math.max(1, Math.min(msBeforeNext, windowMs))
}

/** Which of two limits has refused, and how long to wait, in milliseconds. */
export interface Refusal {
  readonly by: 'first' | 'second'
  readonly waitMs: number
}

/**
 * Counts one for the first key and, unless it refuses, one for the second. Two PostgreSQL limiters share one
 * statement, which saves a commit. Null: neither refused.
 */
export async function consumeBoth(first: LimitKey, second: LimitKey): Promise<Refusal | null> {
  const [one, two] = [first.limiter, second.limiter]
  const [own, other] = (await consumeTogether(first, second)) ?? []
  const firstMs = own && one ? toWaitMs(one, own) : await consume(one, first.key)
  if (firstMs !== null) return { by: 'first', waitMs: firstMs }
  const secondMs = other && two ? toWaitMs(two, other) : await consume(two, second.key)
  return secondMs === null ? null : { by: 'second', waitMs: secondMs }
}

function toWaitMs({ points, msDuration }: RateLimiterAbstract, count: RateLimiterRes): number | null {
  return count.consumedPoints > points ? toWait(count, msDuration) : null
}
