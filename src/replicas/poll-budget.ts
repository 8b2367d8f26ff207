import { RateLimiterRes } from 'rate-limiter-flexible'
import type { Clock } from '../tasks/ports.ts'
import type { PollBudget } from '../tasks/rates.ts'
import type { CreateLimiter } from './limit.ts'
import { SlidingWindow } from './sliding-window.ts'

const WINDOW_MS = 1_000
const KEY = 'polls'

interface Counter {
  /** How many polls are free now. */
  free(): number | Promise<number>
  /** Counts all of these polls and returns null, or counts none and returns the wait in milliseconds. */
  count(polls: number): number | null | Promise<number | null>
  giveBack(polls: number): void | Promise<void>
}

/** The budget of one process: at most `perSecond` polls in any 1,000 ms. */
export function createPollBudget(clock: Clock, perSecond: number): PollBudget {
  const window = new SlidingWindow(clock, { limit: perSecond, perMs: WINDOW_MS })
  return createBudget(clock, perSecond, {
    free: () => window.free,
    count: (polls) => window.take(polls),
    giveBack: (polls) => window.giveBack(polls),
  })
}

/** The budget that all replicas share: at most `perSecond` polls in each window of a second. */
export function createSharedPollBudget(
  createLimiter: CreateLimiter,
  perSecond: number,
  clock: Clock,
): PollBudget {
  const limiter = createLimiter('poll', { limit: perSecond, perMs: WINDOW_MS })
  let windowEndsAt = -Infinity
  /**
   * Polls are returned only within the window in which they were counted: in the next one they would exceed
   * the limit.
   */
  const giveBack = async (polls: number) => {
    if (clock.elapsed() < windowEndsAt) await limiter.reward(KEY, polls)
  }
  return createBudget(clock, perSecond, {
    free: async () => (await limiter.get(KEY))?.remainingPoints ?? perSecond,
    async count(polls) {
      const startedAt = clock.elapsed()
      try {
        windowEndsAt = startedAt + (await limiter.consume(KEY, polls)).msBeforeNext
        return null
      } catch (refusal) {
        if (!(refusal instanceof RateLimiterRes)) throw refusal
        windowEndsAt = startedAt + refusal.msBeforeNext
        // The limiter counts refused polls, too.
        await giveBack(polls)
        return Math.max(1, refusal.msBeforeNext)
      }
    },
    giveBack,
  })
}

function createBudget(clock: Clock, perSecond: number, counter: Counter): PollBudget {
  let waiting = 0
  return {
    async take(wanted, spared = 0) {
      const kept = waiting + Math.floor(spared * perSecond)
      const polls = Math.max(0, Math.min(wanted, (await counter.free()) - kept))
      return polls > 0 && (await counter.count(polls)) === null ? polls : 0
    },
    async giveBack(polls) {
      if (polls > 0) await counter.giveBack(polls)
    },
    async wait(timeoutMs) {
      const until = clock.elapsed() + timeoutMs
      waiting += 1
      try {
        for (;;) {
          const waitMs = await counter.count(1)
          if (waitMs === null) return true
          if (clock.elapsed() + waitMs > until) return false
          await new Promise<void>((resolve) => clock.after(waitMs, resolve))
        }
      } finally {
        waiting -= 1
      }
    },
  }
}
