import type { Clock } from '../tasks/ports.ts'
import type { RateLimits, RateRefusal } from '../tasks/rates.ts'
import type { AccountLimit } from './account-limit.ts'
import { consume, type CreateLimiter, type Rate } from './limiters.ts'
import { SlidingWindow } from './sliding-window.ts'

export interface RatePolicy {
  /** New submits of all owners together: the upstream's limit per account; null: no limit. */
  readonly upstream: Rate | null
  /** New submits of one owner; null: no limit. */
  readonly owner: Rate | null
}

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

function refuse(code: RateRefusal['code'], retryAfterMs: number): RateRefusal {
  return { code, upstreamCode: null, retryAfterMs }
}
