import type { RateLimiterAbstract } from 'rate-limiter-flexible'

/** A limit for each window of `perMs` milliseconds. */
export interface Rate {
  readonly limit: number
  readonly perMs: number
}

/** Creates a limiter. Limiters of one name share their counts. */
export type CreateLimiter = (name: string, rate: Rate) => RateLimiterAbstract

/** A key of a limiter that counts; null: there is no limit. */
export interface LimitKey {
  readonly limiter: RateLimiterAbstract | null
  readonly key: string
}

export const toOptions = (name: string, { limit, perMs }: Rate) => ({
  keyPrefix: `upscale:limit:${name}`,
  points: limit,
  duration: perMs / 1_000,
})
