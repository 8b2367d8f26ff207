import type { Clock } from '../../src/tasks/ports.ts'

/**
 * A clock that stands still until a test moves it. Its two hands move together, until the wall clock is set.
 */
export class ManualClock implements Clock {
  #now = Date.parse('2026-01-01T00:00:00Z')
  #elapsed = 5_000
  readonly #timers = new Map<symbol, { at: number; callback: () => void }>()

  now(): number {
    return this.#now
  }

  elapsed(): number {
    return this.#elapsed
  }

  after(ms: number, callback: () => void): Disposable {
    const key = Symbol('timer')
    this.#timers.set(key, { at: this.#elapsed + ms, callback })
    return { [Symbol.dispose]: () => void this.#timers.delete(key) }
  }

  /** Moves on and calls back whatever is due by then, in order. */
  advance(ms: number): void {
    this.lag(ms)
    const due = [...this.#timers]
      .filter(([, { at }]) => at <= this.#elapsed)
      .sort(([, a], [, b]) => a.at - b.at)
    for (const [key, { callback }] of due) {
      this.#timers.delete(key)
      callback()
    }
  }

  /** Moves on while nothing is called back, as when the process is busy. */
  lag(ms: number): void {
    this.#now += ms
    this.#elapsed += ms
  }

  /** Sets the wall clock forward, or with a negative number back; no time passes. */
  step(ms: number): void {
    this.#now += ms
  }

  /** How many callbacks are waited for. */
  get pending(): number {
    return this.#timers.size
  }
}
