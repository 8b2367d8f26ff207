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
    return new Place(this.#open, key)
  }
}

/** One of the counted resources. A class, because every socket keeps one. */
class Place implements Disposable {
  readonly #open: Map<string, number>
  readonly #key: string
  #isTaken = true

  constructor(open: Map<string, number>, key: string) {
    this.#open = open
    this.#key = key
  }

  [Symbol.dispose](): void {
    if (!this.#isTaken) return
    this.#isTaken = false
    const left = (this.#open.get(this.#key) ?? 1) - 1
    if (left > 0) this.#open.set(this.#key, left)
    else this.#open.delete(this.#key)
  }
}

/** The keys of callers: an owner, or guests who share a watch token's task. They never collide. */
export const toOwnerKey = (owner: string): string => `owner ${owner}`
export const toTaskKey = (taskId: string): string => `task ${taskId}`
