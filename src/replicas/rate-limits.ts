import { RateLimiterRes, type RateLimiterAbstract } from 'rate-limiter-flexible'
import type { RateBudget, RateLimits, RateRefusal } from '../tasks/rates.ts'
import type { CreateLimiter, Rate } from './limiters.ts'

export interface RatePolicy {
  /** New submits of all owners together: the upstream's limit per account; null: no limit. */
  readonly upstream: Rate | null
  /** New submits of one owner; null: no limit. */
  readonly owner: Rate | null
}

/** All owners share one account. */
const ACCOUNT = 'account'

/** Rate limits in fixed windows, each of which begins with its first submit. */
export function createRateLimits(policy: RatePolicy, createLimiter: CreateLimiter): RateLimits {
  const owners = policy.owner && createLimiter('owner', policy.owner)
  const account = policy.upstream && createLimiter('upstream', policy.upstream)
  return {
    async take(owner) {
      const own = await consume(owners, owner)
      if (own !== null) return refuse('RATE_LIMITED', own)
      const shared = await consume(account, ACCOUNT)
      if (shared === null) return null
      await owners?.reward(owner)
      return refuse('UPSTREAM_RATE_LIMITED', shared)
    },
    async takeOwn(owner) {
      const own = await consume(owners, owner)
      return own === null ? null : refuse('RATE_LIMITED', own)
    },
    async upstream(now) {
      return account && toBudget(account.points, await account.get(ACCOUNT), now)
    },
  }
}

/** Counts one submit and returns null, or returns how long to wait. */
async function consume(limiter: RateLimiterAbstract | null, key: string): Promise<number | null> {
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

function refuse(code: RateRefusal['code'], retryAfterMs: number): RateRefusal {
  return { code, upstreamCode: null, retryAfterMs }
}

function toBudget(limit: number, used: RateLimiterRes | null, now: number): RateBudget {
  if (used === null) return { limit, remaining: limit, resetAt: null }
  return { limit, remaining: Math.max(0, limit - used.consumedPoints), resetAt: now + used.msBeforeNext }
}
