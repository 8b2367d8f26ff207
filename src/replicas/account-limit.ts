import { RateLimiterRes, type RateLimiterAbstract } from 'rate-limiter-flexible'
import type { Clock } from '../tasks/ports.ts'
import type { RateBudget } from '../tasks/rates.ts'
import type { CreateLimiter, LimitKey, Rate } from './limit.ts'
import { consume, consumeBoth, type Refusal } from './limiters.ts'
import { SlidingWindow } from './sliding-window.ts'

/** The limit of an engine's account, for all owners: at most `limit` submits in any interval of `perMs`. */
export interface AccountLimit {
  /** Counts one submit and returns null, or returns how long to wait, in milliseconds. */
  take(): Promise<number | null>
  /**
   * Counts one for `first`; unless that refuses, counts one submit. A refusal of the submit leaves `first`
   * counted. Null: neither refused.
   */
  takeAfter(first: LimitKey): Promise<Refusal | null>
  /** Returns a submit that was taken and not sent. */
  giveBack(): Promise<void>
  budget(now: number): Promise<RateBudget>
}

/** The account's limit for one process. */
export function createLocalAccountLimit(clock: Clock, rate: Rate): AccountLimit {
  const window = new SlidingWindow(clock, rate)
  return {
    take: () => Promise.resolve(window.take()),
    async takeAfter(first) {
      const firstMs = await consume(first.limiter, first.key)
      if (firstMs !== null) return { by: 'first', waitMs: firstMs }
      const waitMs = window.take()
      return waitMs === null ? null : { by: 'second', waitMs }
    },
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

const NO_LIMIT: LimitKey = { limiter: null, key: '' }

/** A larger limit has this many slots, each for several submits. */
const MAX_SLOTS = 100

/** The account's limit for all replicas together. Limits of the same `name` share their counts. */
export function createSharedAccountLimit(
  name: string,
  createLimiter: CreateLimiter,
  clock: Clock,
  rate: Rate,
): AccountLimit {
  return new SlottedLimit((slots) => createLimiter(name, slots), clock, rate)
}

/**
 * The limiters of replicas have fixed windows: an interval across two windows could have twice the limit.
 * Therefore each submit has a window of its own, a slot, which no other submit can use before its window has
 * ended. With more than MAX_SLOTS submits, a slot counts several, and an interval can have up to twice the
 * limit again.
 */
class SlottedLimit implements AccountLimit {
  readonly #limiter: RateLimiterAbstract
  readonly #clock: Clock
  readonly #rate: Rate
  readonly #slotSize: number
  /** When each slot is free again, as far as this replica knows; on the monotonic clock. */
  readonly #freeAt: number[]
  /** The slots that this replica has taken, the latest last. */
  #taken: number[] = []

  constructor(createSlots: (slots: Rate) => RateLimiterAbstract, clock: Clock, rate: Rate) {
    this.#slotSize = Math.ceil(rate.limit / MAX_SLOTS)
    const slots = Math.floor(rate.limit / this.#slotSize)
    this.#limiter = createSlots({ limit: this.#slotSize, perMs: rate.perMs })
    this.#clock = clock
    this.#rate = rate
    this.#freeAt = Array<number>(slots).fill(-Infinity)
  }

  async take(): Promise<number | null> {
    return (await this.takeAfter(NO_LIMIT))?.waitMs ?? null
  }

  async takeAfter(first: LimitKey): Promise<Refusal | null> {
    // Only the first attempt counts for `first`.
    for (let before = first; ; before = NO_LIMIT) {
      const now = this.#clock.elapsed()
      const free = [...this.#freeAt.keys()].filter((slot) => (this.#freeAt[slot] ?? 0) <= now)
      // A random free slot, so that replicas rarely choose the same one.
      const slot = free[Math.floor(Math.random() * free.length)]
      if (slot === undefined) {
        const firstMs = await consume(before.limiter, before.key)
        if (firstMs !== null) return { by: 'first', waitMs: firstMs }
        return { by: 'second', waitMs: Math.max(1, Math.min(...this.#freeAt) - now) }
      }
      const refusal = await consumeBoth(before, { limiter: this.#limiter, key: String(slot) })
      if (refusal?.by === 'first') return refusal
      if (refusal !== null) this.#freeAt[slot] = this.#clock.elapsed() + refusal.waitMs
      else {
        if (this.#slotSize === 1) this.#freeAt[slot] = now + this.#rate.perMs
        this.#taken = [...this.#taken.slice(1 - MAX_SLOTS), slot]
        return null
      }
    }
  }

  async giveBack(): Promise<void> {
    const slot = this.#taken.pop()
    if (slot === undefined) return
    // A window that has begun would end too soon for the next submit.
    await (this.#slotSize === 1 ? this.#limiter.delete(String(slot)) : this.#limiter.reward(String(slot)))
    this.#freeAt[slot] = -Infinity
  }

  async budget(now: number): Promise<RateBudget> {
    const used = await Promise.all(this.#freeAt.map((_, slot) => this.#limiter.get(String(slot))))
    const counted = used.filter((each) => each instanceof RateLimiterRes && each.consumedPoints > 0)
    const count = counted.reduce((sum, each) => sum + Math.min(each?.consumedPoints ?? 0, this.#slotSize), 0)
    const resetMs = Math.min(...counted.map((each) => each?.msBeforeNext ?? Infinity))
    const { limit } = this.#rate
    return { limit, remaining: Math.max(0, limit - count), resetAt: count === 0 ? null : now + resetMs }
  }
}
