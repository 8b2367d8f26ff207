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

/**
 * The statement of RateLimiterPostgres, for two keys.
 * Counts the second only if the first does not exceed its limit ($6).
 */
const COUNT_MORE = (end: string) => `
  ON CONFLICT (key) DO UPDATE SET
    points = CASE WHEN rate_limit.expire <= $5 THEN 1 ELSE rate_limit.points + 1 END,
    expire = CASE WHEN rate_limit.expire <= $5 THEN ${end}::bigint ELSE rate_limit.expire END
  RETURNING key, points, expire`
const CONSUME_BOTH = `
  WITH first AS (INSERT INTO rate_limit VALUES ($1, 1, $2) ${COUNT_MORE('$2')}),
  second AS (INSERT INTO rate_limit SELECT $3, 1, $4::bigint FROM first WHERE first.points <= $6 ${COUNT_MORE('$4')})
  SELECT * FROM first UNION ALL SELECT * FROM second`

/** Windows end by the wall clock. If the clock was set back, a window would end too late, so it is restarted. */
class PostgresLimiter extends RateLimiterPostgres {
  readonly #pool: Pool

  constructor(pool: Pool, options: ReturnType<typeof toOptions>) {
    super({ ...options, storeClient: pool, storeType: 'pool', tableName: 'rate_limit', tableCreated: true })
    this.#pool = pool
  }

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

  /**
   * Counts one for `key` and, unless that exceeds its limit, one for `otherKey` of `other`: one statement,
   * one commit. Returns both counts; undefined: not counted, or its window ended too late and was dropped.
   */
  async consumeWith(
    key: string,
    other: PostgresLimiter,
    otherKey: string,
  ): Promise<readonly [RateLimiterRes | undefined, RateLimiterRes | undefined]> {
    const now = Date.now()
    const [first, second] = [this.getKey(key), other.getKey(otherKey)]
    const [firstEnd, secondEnd] = [now + this.msDuration, now + other.msDuration]
    const { rows } = await this.#pool.query({
      text: CONSUME_BOTH,
      values: [first, firstEnd, second, secondEnd, now, this.points],
    })
    const results: [RateLimiterRes | undefined, RateLimiterRes | undefined] = [undefined, undefined]
    for (const { key: counted, points, expire } of rows) {
      const [limiter, own, place] =
        counted === first ? ([this, key, 0] as const) : ([other, otherKey, 1] as const)
      const result = new RateLimiterRes(limiter.points - points, Math.max(expire - now, 0), points)
      if (!(await limiter.#dropIfTooLate(own, result))) results[place] = result
    }
    return results
  }

  async #dropIfTooLate(key: string | number, outcome: unknown): Promise<boolean> {
    if (!(outcome instanceof RateLimiterRes)) return false
    return outcome.msBeforeNext > this.msDuration + CLOCK_TOLERANCE_MS && (await this.delete(key))
  }
}

/** The part of a pool of PostgreSQL connections that limiters need. */
interface Pool {
  query(statement: QueryConfig): Promise<{ readonly rows: readonly CountRow[] }>
}

interface CountRow {
  readonly key: string
  readonly points: number
  readonly expire: number
}

/** Counts that all replicas share in PostgreSQL, in the table `rate_limit`. */
export function createPostgresLimiter(pool: Pool): CreateLimiter {
  return (name, rate) => new PostgresLimiter(pool, toOptions(name, rate))
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

/** A key of a limiter that counts; null: there is no limit. */
export interface LimitKey {
  readonly limiter: RateLimiterAbstract | null
  readonly key: string
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
  const isShared = one instanceof PostgresLimiter && two instanceof PostgresLimiter
  const [own, other] = isShared ? await one.consumeWith(first.key, two, second.key) : []
  const firstMs = own && one ? toWaitMs(one, own) : await consume(one, first.key)
  if (firstMs !== null) return { by: 'first', waitMs: firstMs }
  const secondMs = other && two ? toWaitMs(two, other) : await consume(two, second.key)
  return secondMs === null ? null : { by: 'second', waitMs: secondMs }
}

function toWaitMs({ points, msDuration }: RateLimiterAbstract, count: RateLimiterRes): number | null {
  return count.consumedPoints > points ? toWait(count, msDuration) : null
}
