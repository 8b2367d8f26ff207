import { isOwnerTopic } from '../tasks/watch/owner-topic.ts'

/**
 * A hint about an owner alone says that a task is new. It waits up to this long for a hint about a task,
 * usually that the upstream has accepted it, to share its notification.
 */
const NEW_TASK_BATCH_MS = 200
/** PostgreSQL accepts payloads of less than 8,000 bytes. */
const MAX_PAYLOAD_BYTES = 7_900
/** How many hints are kept for the next connection. */
const MAX_UNSENT = 10_000

/** Hints that wait to be sent to the other replicas. */
export class UnsentHints {
  readonly #topics = new Set<string>()
  #isDue = false
  #dueTimer: NodeJS.Timeout | undefined
  #hasMore = false
  #wake: () => void = () => undefined

  get isEmpty(): boolean {
    return this.#topics.size === 0
  }

  /** Whether the last payload was full, and left hints unsent. */
  get hasMore(): boolean {
    return this.#hasMore
  }

  /** Adds a hint; drops it if MAX_UNSENT wait. */
  add(topic: string): void {
    if (this.#topics.size < MAX_UNSENT) this.#topics.add(topic)
    if (isOwnerTopic(topic)) this.#dueTimer ??= setTimeout(() => this.#setDue(), NEW_TASK_BATCH_MS)
    else this.#setDue()
  }

  /** Resolves when hints are due, after `maxMs`, or at `wake()`. */
  async waitUntilDue(maxMs: number): Promise<void> {
    if (this.#isDue) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, maxMs)
    this.#wake = resolve
    await promise
    clearTimeout(timer)
  }

  /** Ends the wait. */
  wake(): void {
    this.#wake()
  }

  /** Takes hints as a payload that begins with the current time; undefined: there are none. */
  takePayload(): string | undefined {
    if (this.#topics.size === 0) return undefined
    let payload = String(Date.now())
    for (const topic of this.#topics) {
      if (payload.length + topic.length >= MAX_PAYLOAD_BYTES) break
      payload += ` ${topic}`
      this.#topics.delete(topic)
    }
    this.#hasMore = this.#topics.size > 0
    if (!this.#hasMore) {
      this.#isDue = false
      clearTimeout(this.#dueTimer)
      this.#dueTimer = undefined
    }
    return payload
  }

  #setDue(): void {
    this.#isDue = true
    this.#wake()
  }
}
