interface Entry {
  readonly at: number
  readonly run: () => void
  /** True: it does not keep a process running. */
  readonly isBackground: boolean
  timer?: unknown
}

interface ScheduleOptions {
  readonly isBackground?: boolean
}

/** How many promise jobs an event takes at most on its way to a component. */
const JOBS = 50

/** Lets promise jobs run. Timers would not do: test runners replace them. */
async function flushJobs(): Promise<void> {
  for (let job = 0; job < JOBS; job += 1) await Promise.resolve()
}

/**
 * A clock with timers. In manual mode only `advance` and `runUntil` move it; otherwise it also follows the
 * real time.
 */
export class ScriptClock {
  readonly #isManual: boolean
  readonly #startAt: number
  readonly #entries = new Set<Entry>()
  #startedAt = performance.now()
  #skippedMs = 0
  #latest: number

  constructor(isManual: boolean, startAt: number) {
    this.#isManual = isManual
    this.#startAt = startAt
    this.#latest = startAt
  }

  /** The time in Unix milliseconds. It never goes back. */
  now(): number {
    const elapsed = this.#isManual ? 0 : performance.now() - this.#startedAt
    this.#latest = Math.max(this.#latest, Math.floor(this.#startAt + this.#skippedMs + elapsed))
    return this.#latest
  }

  /** Calls `run` after `ms` milliseconds. Returns a function that cancels this. */
  after(ms: number, run: () => void, { isBackground = false }: ScheduleOptions = {}): () => void {
    const entry: Entry = { at: this.now() + ms, run, isBackground }
    this.#entries.add(entry)
    this.#arm(entry)
    return () => this.#remove(entry)
  }

  wait(ms: number): Promise<void> {
    return ms <= 0 ? Promise.resolve() : new Promise((resolve) => void this.after(ms, resolve))
  }

  /** Moves the time by `ms` milliseconds, and runs what is due, step by step. */
  async advance(ms: number): Promise<void> {
    const until = this.now() + ms
    await this.runUntil(() => this.#next(until) === undefined)
    this.#skipTo(until)
    await flushJobs()
  }

  /** Runs what is scheduled, in the order of time, until this is true or nothing is left. */
  async runUntil(isDone: () => boolean): Promise<void> {
    await flushJobs()
    for (let entry = this.#next(Infinity); entry && !isDone(); entry = this.#next(Infinity)) {
      this.#skipTo(entry.at)
      this.#fire(entry)
      await flushJobs()
    }
  }

  /** Forgets all timers, and begins again. */
  reset(): void {
    for (const entry of this.#entries) this.#remove(entry)
    this.#startedAt = performance.now()
    this.#skippedMs = 0
    this.#latest = this.#startAt
  }

  #next(until: number): Entry | undefined {
    const due = [...this.#entries].filter(({ at }) => at <= until)
    return due.reduce<Entry | undefined>(
      (first, each) => (first && first.at <= each.at ? first : each),
      undefined,
    )
  }

  #skipTo(at: number): void {
    this.#skippedMs += Math.max(0, at - this.now())
    if (this.#isManual) return
    for (const entry of this.#entries) {
      clearTimer(entry.timer)
      this.#arm(entry)
    }
  }

  #fire(entry: Entry): void {
    this.#remove(entry)
    this.#latest = Math.max(this.#latest, entry.at)
    entry.run()
  }

  #arm(entry: Entry): void {
    if (this.#isManual) return
    entry.timer = setTimeout(() => this.#fire(entry), Math.max(0, entry.at - this.now()))
    if (entry.isBackground) unref(entry.timer)
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry)
    clearTimer(entry.timer)
  }
}

function clearTimer(timer: unknown): void {
  clearTimeout(timer as ReturnType<typeof setTimeout> | undefined)
}

/** Timers of Node.js keep the process running; those of browsers are numbers. */
function unref(timer: unknown): void {
  if (isUnrefable(timer)) timer.unref()
}

function isUnrefable(timer: unknown): timer is { unref(): void } {
  return typeof timer === 'object' && timer !== null && 'unref' in timer
}
