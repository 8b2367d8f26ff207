import type { QueryConfig } from 'pg'
import { RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible'
import { toOptions, type CreateLimiter, type LimitKey } from './limit.ts'

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

/**
 * Windows end by the wall clock. If the clock was set back, a window would end too late, so it is restarted.
 */
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

/**
 * Counts one for each of two keys as `consumeWith` does: one commit instead of two. Undefined: PostgreSQL
 * does not count both, so nothing was counted.
 */
export async function consumeTogether(
  first: LimitKey,
  second: LimitKey,
): Promise<readonly [RateLimiterRes | undefined, RateLimiterRes | undefined] | undefined> {
  const [one, two] = [first.limiter, second.limiter]
  const isShared = one instanceof PostgresLimiter && two instanceof PostgresLimiter
  return isShared ? one.consumeWith(first.key, two, second.key) : undefined
}
