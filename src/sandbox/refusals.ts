/** Refusals that depend on earlier submits. All counts are in memory of the process. */

export interface RateLimit {
  readonly limit: number
  readonly perMs: number
}

/** An account limit in a sliding interval: no interval of `perMs` has more than `limit` accepted submits. */
export class AccountLimit {
  readonly #limit: RateLimit
  readonly #elapsed: () => number
  /** The times of the last accepted submits, in a ring. */
  readonly #times: number[] = []
  #next = 0

  /** `elapsed` is a monotonic clock in milliseconds. */
  constructor(limit: RateLimit, elapsed: () => number) {
    this.#limit = limit
    this.#elapsed = elapsed
  }

  /** Counts a submit and returns 0, or returns the milliseconds until one is free. */
  take(): number {
    const now = this.#elapsed()
    const { limit, perMs } = this.#limit
    const freeAt = (this.#times[this.#next] ?? -Infinity) + perMs
    if (freeAt > now) return freeAt - now
    this.#times[this.#next] = now
    this.#next = (this.#next + 1) % limit
    return 0
  }
}

const MAX_SOURCES = 1_000

/**
 * Counts the refusals of each source task in a row. It remembers the 1,000 source tasks that were refused
 * last.
 */
export class BusySources {
  readonly #refused = new Map<string, number>()

  /**
   * Whether to refuse this submit: the first `count` are refused, the next is not, then counting starts anew.
   */
  refuses(sourceTaskId: string, count: number): boolean {
    const refused = this.#refused.get(sourceTaskId) ?? 0
    this.#refused.delete(sourceTaskId)
    if (refused >= count) return false
    this.#refused.set(sourceTaskId, refused + 1)
    const [oldest] = this.#refused.keys()
    if (this.#refused.size > MAX_SOURCES && oldest !== undefined) this.#refused.delete(oldest)
    return true
  }
}
