import type { Redis } from 'ioredis'
import type { QueryConfig } from 'pg'
import {
  RateLimiterMemory,
  RateLimiterPostgres,
  RateLimiterRedis,
  RateLimiterRes,
  type RateLimiterAbstract,
} from 'rate-limiter-flexible'

/** A limit for each window of `perMs` milliseconds. */
export interface Rate {
  readonly limit: number
  readonly perMs: number
}

/** Creates a limiter. Limiters of one name share their counts. */
export type CreateLimiter = (name: string, rate: Rate) => RateLimiterAbstract

const toOptions = (name: string, { limit, perMs }: Rate) => ({
  keyPrefix: `upscale:limit:${name}`,
  points: limit,
  duration: perMs / 1_000,
})

/** Counts in this process only. */
export const createMemoryLimiter: CreateLimiter = (name, rate) => new RateLimiterMemory(toOptions(name, rate))

/** Counts that all replicas share in Redis. While Redis is down, each replica counts separately. */
export function createRedisLimiter(redis: Redis): CreateLimiter {
  return (name, rate) => {
    const own = createMemoryLimiter(name, rate)
    const consume = own.consume.bind(own)
    own.consume = (...args) => {
      // After a timeout the connection is closed, so that further commands fail at once instead of after their timeout.
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

/** How far the clocks of replicas may differ for shared windows. */
const CLOCK_TOLERANCE_MS = 60_000

/** Windows end by the wall clock. If the clock was set back, a window would end too late, so it is restarted. */
class PostgresLimiter extends RateLimiterPostgres {
  override async consume(...args: Parameters<RateLimiterPostgres['consume']>): Promise<RateLimiterRes> {
    try {
      const taken = await super.consume(...args)
      if (!(await this.#dropIfTooLate(args[0], taken))) return taken
    } catch (refusal) {
      if (!(await this.#dropIfTooLate(args[0], refusal))) throw refusal
    }
    return super.consume(...args)
  }

  override async get(...args: Parameters<RateLimiterPostgres['get']>): Promise<RateLimiterRes | null> {
    const used = await super.get(...args)
    return (await this.#dropIfTooLate(args[0], used)) ? null : used
  }

  async #dropIfTooLate(key: string | number, outcome: unknown): Promise<boolean> {
    if (!(outcome instanceof RateLimiterRes)) return false
    return outcome.msBeforeNext > this.msDuration + CLOCK_TOLERANCE_MS && (await this.delete(key))
  }
}

/** The part of a pool of PostgreSQL connections that limiters need. */
interface Pool {
  query(statement: QueryConfig): Promise<unknown>
}

/** Counts that all replicas share in PostgreSQL, in the table `rate_limit`. */
export function createPostgresLimiter(pool: Pool): CreateLimiter {
  return (name, rate) =>
    new PostgresLimiter({
      ...toOptions(name, rate),
      storeClient: pool,
      storeType: 'pool',
      tableName: 'rate_limit',
      tableCreated: true,
    })
}

/** Counts one and returns null, or returns how long to wait, in milliseconds. */
export async function consume(limiter: RateLimiterAbstract | null, key: string): Promise<number | null> {
  try {
    await limiter?.consume(key)
    return null
  } catch (refusal) {
    // Capped at one window: after the clock was set back, an in-memory window reports too long a wait.
    if (refusal instanceof RateLimiterRes)
      return Math.max(1, Math.min(refusal.msBeforeNext, limiter?.msDuration ?? 0))
    throw refusal
  }
}
