import type { Clock } from '../../src/tasks/ports.ts'

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #now = Date.parse('2026-01-01T00:00:00Z')
  readonly #timers = new Map<symbol, { at: number; callback: () => void }>()

  now(): number {
    return this.#now
  }

  after(ms: number, callback: () => void): Disposable {
    const key = Symbol('timer')
    this.#timers.set(key, { at: this.#now + ms, callback })
    return { [Symbol.dispose]: () => void this.#timers.delete(key) }
  }

  /** Moves on and calls back whatever is due by then, in order. */
  advance(ms: number): void {
    this.#now += ms
    const due = [...this.#timers].filter(([, { at }]) => at <= this.#now).sort(([, a], [, b]) => a.at - b.at)
    for (const [key, { callback }] of due) {
      this.#timers.delete(key)
      callback()
    }
  }

  /** Moves on while nothing is called back, as when the process is busy. */
  lag(ms: number): void {
    this.#now += ms
  }

  /** How many callbacks are waited for. */
  get pending(): number {
    return this.#timers.size
  }
}
