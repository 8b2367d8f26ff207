import { RateLimiterRes, type RateLimiterAbstract } from 'rate-limiter-flexible'
import type { Clock } from '../tasks/ports.ts'
import type { RateBudget, RateLimits, RateRefusal } from '../tasks/rates.ts'
import type { CreateLimiter, Rate } from './limiters.ts'
import { SlidingWindow } from './sliding-window.ts'

export interface RatePolicy {
  /** New submits of all owners together: the upstream's limit per account; null: no limit. */
  readonly upstream: Rate | null
  /** New submits of one owner; null: no limit. */
  readonly owner: Rate | null
}

/** The limit of the upstream's account, for all owners. */
export interface AccountLimit {
  /** Counts one submit and returns null, or returns how long to wait, in milliseconds. */
  take(): Promise<number | null>
  /** Returns a submit that was taken and not sent. */
  giveBack(): Promise<void>
  budget(now: number): Promise<RateBudget>
}

/** All owners share one account. */
const ACCOUNT = 'account'

/** Rate limits. Those of owners have fixed windows, each of which begins with its first submit. */
export function createRateLimits(
  policy: RatePolicy,
  clock: Clock,
  createLimiter: CreateLimiter,
  createAccountLimit: (rate: Rate) => AccountLimit,
): RateLimits {
  const owners = policy.owner && createLimiter('owner', policy.owner)
  const account = policy.upstream && createAccountLimit(policy.upstream)
  // Each replica spreads its own submits.
  const evenWindow = policy.upstream && new SlidingWindow(clock, toTenth(policy.upstream))
  const takeAccount = async (evenly: boolean) => {
    const waitMs = evenWindow?.take() ?? null
    if (evenly && waitMs !== null) return waitMs
    const refusedMs = (await account?.take()) ?? null
    if (refusedMs !== null && waitMs === null) evenWindow?.giveBack()
    return refusedMs
  }
  return {
    async take(owner) {
      const own = await consume(owners, owner)
      if (own !== null) return refuse('RATE_LIMITED', own)
      const shared = await takeAccount(false)
      if (shared === null) return null
      await owners?.reward(owner)
      return refuse('UPSTREAM_RATE_LIMITED', shared)
    },
    async takeOwn(owner) {
      const own = await consume(owners, owner)
      return own === null ? null : refuse('RATE_LIMITED', own)
    },
    takeAccount,
    async giveBackAccount() {
      evenWindow?.giveBack()
      await account?.giveBack()
    },
    upstream: async (now) => (await account?.budget(now)) ?? null,
  }
}

function toTenth({ limit, perMs }: Rate): Rate {
  return { limit: Math.ceil(limit / 10), perMs: perMs / 10 }
}

/** The account's limit for one process: at most `limit` submits in any interval of `perMs`. */
export function createOwnAccountLimit(clock: Clock, rate: Rate): AccountLimit {
  const window = new SlidingWindow(clock, rate)
  return {
    take: () => Promise.resolve(window.take()),
    giveBack() {
      window.giveBack()
      return Promise.resolve()
    },
    budget(now) {
      const remaining = window.free
      const { resetMs } = window
      return Promise.resolve({
        limit: rate.limit,
        remaining,
        resetAt: resetMs === null ? null : now + resetMs,
      })
    },
  }
}

/**
 * The account's limit for all replicas, in fixed windows: an interval across two windows can have up to twice the limit.
 * The upstream then refuses some submits; those of queued tasks are deferred.
 */
export function createSharedAccountLimit(createLimiter: CreateLimiter, rate: Rate): AccountLimit {
  const limiter = createLimiter('upstream', rate)
  return {
    take: () => consume(limiter, ACCOUNT),
    async giveBack() {
      await limiter.reward(ACCOUNT)
    },
    budget: async (now) => toBudget(rate.limit, await limiter.get(ACCOUNT), now),
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
