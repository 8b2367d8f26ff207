/** The maximum of keys with a lowered limit; the oldest entry is dropped first. */
const MAX_LOWERED = 200

/** Counts running attempts by key (a host, an owner), up to a limit, which can be lowered for one key. */
export class ConcurrencyLimits {
  readonly #limit: number
  readonly #running = new Map<string, number>()
  /** In the order in which they were last lowered. */
  readonly #lowered = new Map<string, number>()

  constructor(limit: number) {
    this.#limit = limit
  }

  start(key: string): void {
    this.#running.set(key, this.#count(key) + 1)
  }

  end(key: string): void {
    if (this.#count(key) > 1) this.#running.set(key, this.#count(key) - 1)
    else this.#running.delete(key)
  }

  isFull(key: string): boolean {
    return this.#count(key) >= (this.#lowered.get(key) ?? this.#limit)
  }

  /** The keys that have reached their limits. */
  get full(): string[] {
    return [...this.#running.keys()].filter((key) => this.isFull(key))
  }

  /** The keys whose limits are lowered. */
  get lowered(): string[] {
    return [...this.#lowered.keys()]
  }

  /** Halves the limit of a key, down to one. */
  lower(key: string): void {
    const limit = Math.max(1, Math.floor((this.#lowered.get(key) ?? this.#limit) / 2))
    this.#lowered.delete(key)
    this.#lowered.set(key, limit)
    const [oldest] = this.#lowered.keys()
    if (this.#lowered.size > MAX_LOWERED && oldest !== undefined) this.#lowered.delete(oldest)
  }

  /** Raises a lowered limit by one. */
  raise(key: string): void {
    const limit = this.#lowered.get(key)
    if (limit === undefined) return
    if (limit + 1 >= this.#limit) this.#lowered.delete(key)
    else this.#lowered.set(key, limit + 1)
  }

  #count(key: string): number {
    return this.#running.get(key) ?? 0
  }
}
