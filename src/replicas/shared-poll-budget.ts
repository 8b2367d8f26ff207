import { RateLimiterRes } from 'rate-limiter-flexible'
import type { Clock, PollBudget } from '../tasks/ports.ts'
import type { CreateLimiter } from './limiters.ts'

const KEY = 'polls'

/** The poll budget of all replicas together: so many questions in each window of a second. */
export function createSharedPollBudget(
  createLimiter: CreateLimiter,
  perSecond: number,
  clock: Clock,
): PollBudget {
  const limiter = createLimiter('poll', { limit: perSecond, perMs: 1_000 })
  let waiting = 0
  /** When the window ends from which questions were taken last. */
  let windowEndsAt = -Infinity
  /** What is given back belongs to the window that it was taken from: in the next it would be too much. */
  const reward = async (count: number) => {
    if (clock.elapsed() < windowEndsAt) await limiter.reward(KEY, count)
  }
  /** Null when they were taken; else how long to wait. */
  const consume = async (count: number): Promise<number | null> => {
    const askedAt = clock.elapsed()
    try {
      windowEndsAt = askedAt + (await limiter.consume(KEY, count)).msBeforeNext
      return null
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal
      windowEndsAt = askedAt + refusal.msBeforeNext
      // What was refused has been counted.
      await reward(count)
      return Math.max(1, refusal.msBeforeNext)
    }
  }
  return {
    async take(wanted) {
      const left = (await limiter.get(KEY))?.remainingPoints ?? perSecond
      const count = Math.max(0, Math.min(wanted, left - waiting))
      return count > 0 && (await consume(count)) === null ? count : 0
    },
    async giveBack(count) {
      if (count > 0) await reward(count)
    },
    async wait(timeoutMs) {
      const until = clock.elapsed() + timeoutMs
      waiting += 1
      try {
        for (;;) {
          const waitMs = await consume(1)
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
