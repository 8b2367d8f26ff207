/** Counts open resources per key, up to a limit; null: no limit. */
export class Counts {
  readonly #limit: number | null
  readonly #open = new Map<string, number>()

  constructor(limit: number | null) {
    this.#limit = limit
  }

  /** Adds one to the count, until disposed; undefined at the limit. */
  take(key: string): Disposable | undefined {
    const open = this.#open.get(key) ?? 0
    if (this.#limit !== null && open >= this.#limit) return undefined
    this.#open.set(key, open + 1)
    let taken = true
    const giveBack = () => {
      if (!taken) return
      taken = false
      const left = (this.#open.get(key) ?? 1) - 1
      if (left > 0) this.#open.set(key, left)
      else this.#open.delete(key)
    }
    return { [Symbol.dispose]: giveBack }
  }
}

/** The keys of callers: an owner, or guests who share a watch token's task. They never collide. */
export const toOwnerKey = (owner: string): string => `owner ${owner}`
export const toTaskKey = (taskId: string): string => `task ${taskId}`
