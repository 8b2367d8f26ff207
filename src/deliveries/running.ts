/** The most names whose limits are lowered at once; beyond that the oldest entry is dropped. */
const MAX_SLOWED = 200

/** Counts running attempts by name, up to a limit, which can be lowered for one name. */
export interface Tally {
  add(name: string): void
  remove(name: string): void
  isFull(name: string): boolean
  /** The names that have reached their limits. */
  full(): string[]
  /** Halves the limit of a name, down to one. */
  slowDown(name: string): void
  /** Raises a lowered limit by one. */
  speedUp(name: string): void
  /** The names whose limits are lowered. */
  slowed(): string[]
}

export function createTally(limit: number): Tally {
  const counts = new Map<string, number>()
  const limits = new Map<string, number>()
  const count = (name: string) => counts.get(name) ?? 0
  const isFull = (name: string) => count(name) >= (limits.get(name) ?? limit)
  return {
    add: (name) => void counts.set(name, count(name) + 1),
    remove(name) {
      if (count(name) > 1) counts.set(name, count(name) - 1)
      else counts.delete(name)
    },
    isFull,
    full: () => [...counts.keys()].filter(isFull),
    slowDown(name) {
      const lowered = Math.max(1, Math.floor((limits.get(name) ?? limit) / 2))
      limits.delete(name)
      limits.set(name, lowered)
      const [oldest] = limits.keys()
      if (limits.size > MAX_SLOWED && oldest !== undefined) limits.delete(oldest)
    },
    speedUp(name) {
      const lowered = limits.get(name)
      if (lowered === undefined) return
      if (lowered + 1 >= limit) limits.delete(name)
      else limits.set(name, lowered + 1)
    },
    slowed: () => [...limits.keys()],
  }
}
