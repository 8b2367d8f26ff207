import type { Clock, PollBudget } from '../tasks/ports.ts'

/** The budget of one process: so many in any second, to the millisecond. */
export function createPollBudget(clock: Clock, perSecond: number): PollBudget {
  /** When the questions of the last second were taken. */
  let taken: number[] = []
  let waiting = 0
  const free = () => {
    const now = clock.elapsed()
    taken = taken.filter((at) => at > now - 1_000)
    return perSecond - taken.length
  }
  const spend = (count: number) => {
    for (let n = 0; n < count; n += 1) taken.push(clock.elapsed())
    return count
  }
  return {
    take: (wanted) => Promise.resolve(spend(Math.max(0, Math.min(wanted, free() - waiting)))),
    giveBack(count) {
      if (count > 0) taken = taken.slice(0, -count)
      return Promise.resolve()
    },
    async wait(timeoutMs) {
      const until = clock.elapsed() + timeoutMs
      waiting += 1
      try {
        while (free() < 1) {
          const freeAt = (taken[0] ?? 0) + 1_000
          if (freeAt > until) return false
          await new Promise<void>((resolve) => clock.after(freeAt - clock.elapsed(), resolve))
        }
        spend(1)
        return true
      } finally {
        waiting -= 1
      }
    },
  }
}
