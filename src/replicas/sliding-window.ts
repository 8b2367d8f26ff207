import type { Clock } from '../tasks/ports.ts'
import type { Rate } from './limit.ts'

/**
 * Counts what happened in the last `perMs` milliseconds: never more than `limit`, whenever the interval
 * begins.
 */
export class SlidingWindow {
  readonly #clock: Clock
  readonly #rate: Rate
  /** When each was counted, on the monotonic clock; oldest first. */
  #counted: number[] = []

  constructor(clock: Clock, rate: Rate) {
    this.#clock = clock
    this.#rate = rate
  }

  get free(): number {
    const start = this.#clock.elapsed() - this.#rate.perMs
    const ended = this.#counted.findIndex((at) => at > start)
    this.#counted = ended === -1 ? [] : this.#counted.slice(ended)
    return this.#rate.limit - this.#counted.length
  }

  /** How long until the oldest is no longer counted, in milliseconds; null: none is counted. */
  get resetMs(): number | null {
    const [oldest] = this.#counted
    return oldest === undefined ? null : oldest + this.#rate.perMs - this.#clock.elapsed()
  }

  /** Counts all of these and returns null, or counts none and returns how long to wait, in milliseconds. */
  take(count = 1): number | null {
    if (this.free < count) return this.resetMs
    this.#counted.push(...Array<number>(count).fill(this.#clock.elapsed()))
    return null
  }

  /** Returns the latest of those that were taken. */
  giveBack(count = 1): void {
    this.#counted = this.#counted.slice(0, Math.max(0, this.#counted.length - count))
  }
}
