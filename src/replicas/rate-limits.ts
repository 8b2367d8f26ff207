import type { Clock } from '../tasks/ports.ts'
import type { RateLimits, RateRefusal } from '../tasks/rates.ts'
import type { AccountLimit } from './account-limit.ts'
import type { CreateLimiter, LimitKey, Rate } from './limit.ts'
import { consume } from './limiters.ts'
import { SlidingWindow } from './sliding-window.ts'

interface RatePolicy {
  /**
   * New submits of all owners together, by engine: the limit of the engine's account. Missing or null: no
   * limit.
   */
  readonly engines: Readonly<Record<string, Rate | null>>
  /** New submits of one owner; null: no limit. */
  readonly owner: Rate | null
}

/** Rate limits. Those of owners have fixed windows, each of which begins with its first submit. */
export function createRateLimits(
  policy: RatePolicy,
  clock: Clock,
  createLimiter: CreateLimiter,
  createAccountLimit: (engine: string, rate: Rate) => AccountLimit,
): RateLimits {
  const owners = policy.owner && createLimiter('owner', policy.owner)
  const accounts = new Map(
    Object.entries(policy.engines).flatMap(([engine, rate]) =>
      rate === null ? [] : [[engine, createAccount(clock, rate, createAccountLimit(engine, rate))]],
    ),
  )
  const takeForOwner = async (owner: string) => {
    const waitMs = await consume(owners, owner)
    return waitMs === null ? null : refuse('RATE_LIMITED', waitMs)
  }
  return {
    async take(owner, engine) {
      const account = accounts.get(engine)
      if (account === undefined) return takeForOwner(owner)
      const refusal = await account.takeAfter({ limiter: owners, key: owner })
      if (refusal === null) return null
      if (refusal.by === 'first') return refuse('RATE_LIMITED', refusal.waitMs)
      await owners?.reward(owner)
      return refuse('UPSTREAM_RATE_LIMITED', refusal.waitMs)
    },
    takeForOwner,
    takeAccount: async (engine, evenly) => (await accounts.get(engine)?.take(evenly)) ?? null,
    giveBackAccount: async (engine) => accounts.get(engine)?.giveBack(),
    account: async (engine, now) => (await accounts.get(engine)?.budget(now)) ?? null,
  }
}

/** The limit of an account, with a window in which this replica spreads its submits evenly. */
function createAccount(clock: Clock, rate: Rate, account: AccountLimit) {
  const evenWindow = new SlidingWindow(clock, toTenth(rate))
  return {
    async take(evenly: boolean) {
      const waitMs = evenWindow.take()
      if (evenly && waitMs !== null) return waitMs
      const refusedMs = await account.take()
      if (refusedMs !== null && waitMs === null) evenWindow.giveBack()
      return refusedMs
    },
    async takeAfter(first: LimitKey) {
      const refusal = await account.takeAfter(first)
      // Only after both limits accepted: a refused submit must not delay the queue.
      if (refusal === null) evenWindow.take()
      return refusal
    },
    async giveBack() {
      evenWindow.giveBack()
      await account.giveBack()
    },
    budget: (now: number) => account.budget(now),
  }
}

function toTenth({ limit, perMs }: Rate): Rate {
  return { limit: Math.ceil(limit / 10), perMs: perMs / 10 }
}

function refuse(code: RateRefusal['code'], retryAfterMs: number): RateRefusal {
  return { code, upstreamCode: null, retryAfterMs }
}
