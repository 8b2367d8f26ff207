import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'
import type { RateBudget, RateLimits, RateRefusal } from '../tasks/ports.ts'

/** So many in so much time. */
export interface Rate {
  readonly limit: number
  readonly perMs: number
}

export interface RatePolicy {
  /** New submits of all owners together, as the upstream's account allows; null: no limit. */
  readonly upstream: Rate | null
  /** New submits of one owner; null: no limit. */
  readonly owner: Rate | null
}

/** All owners draw on one account. */
const ACCOUNT = 'account'

/** Rate limits of one process, in fixed windows that begin with the first submit. */
export function createLocalRateLimits(policy: RatePolicy): RateLimits {
  const owners = policy.owner && createLimiter(policy.owner)
  const account = policy.upstream && createLimiter(policy.upstream)
  return {
    async take(owner) {
      const own = await consume(owners, owner)
      if (own !== null) return refuse('RATE_LIMITED', own)
      const shared = await consume(account, ACCOUNT)
      if (shared === null) return null
      await owners?.reward(owner)
      return refuse('UPSTREAM_RATE_LIMITED', shared)
    },
    async upstream(now) {
      if (account === null || policy.upstream === null) return null
      return toBudget(policy.upstream.limit, await account.get(ACCOUNT), now)
    },
  }
}

function createLimiter({ limit, perMs }: Rate): RateLimiterMemory {
  return new RateLimiterMemory({ points: limit, duration: perMs / 1_000 })
}

/** Null where there is room; else how long to wait. */
async function consume(limiter: RateLimiterMemory | null, key: string): Promise<number | null> {
  try {
    await limiter?.consume(key)
    return null
  } catch (refusal) {
    if (refusal instanceof RateLimiterRes) return Math.max(1, refusal.msBeforeNext)
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
