import { CLOCK_TOLERANCE_MS } from '../store-port.ts'
import type { TaskChange } from './task-change.ts'
import type { TaskStatus, UpscaleTask } from '../task.ts'

/** How many unsent states are kept. */
const MAX_UNSENT = 500
/**
 * How many tasks are remembered with the version that was sent last, and how much older than the latest
 * change.
 */
const MAX_SEEN = 10_000
const SEEN_FOR_MS = 2 * CLOCK_TOLERANCE_MS

/**
 * The changes of an owner's tasks that one stream has sent, and those that it has not. Keeps the newest
 * unsent state of each task. Its memory is bounded.
 */
export class OwnerChanges {
  readonly #status: TaskStatus | null
  /** Tasks with the version that was sent or skipped last; the oldest change first. */
  readonly #seen = new Map<string, TaskChange>()
  readonly #unsent = new Map<string, UpscaleTask>()
  /** Tasks that changed later than this are all in `#seen`, if they have been seen. */
  #forgottenUntil = -Infinity

  /** `status`: states with another status are skipped; null: none are. */
  constructor(status: TaskStatus | null) {
    this.#status = status
  }

  /** Marks a change as seen. */
  skip({ id, version, updatedAt }: TaskChange): void {
    this.#seen.delete(id)
    this.#seen.set(id, { id, version, updatedAt })
    for (const oldest of this.#seen.values()) {
      if (this.#seen.size <= MAX_SEEN && oldest.updatedAt >= updatedAt - SEEN_FOR_MS) return
      this.#seen.delete(oldest.id)
      this.#forgottenUntil = Math.max(this.#forgottenUntil, oldest.updatedAt)
    }
  }

  /** Marks a task as not seen. */
  forget(id: string): void {
    this.#seen.delete(id)
  }

  /** Whether a change that was found in the store has neither been seen nor been forgotten. */
  isNew({ id, version, updatedAt }: TaskChange): boolean {
    const seen = this.#seen.get(id)
    return seen === undefined ? updatedAt > this.#forgottenUntil : version > seen.version
  }

  /** Adds a state, unless a newer one is known. False: there is no room for another task. */
  add(task: UpscaleTask): boolean {
    const { id, version, status } = task
    const known = this.#unsent.get(id) ?? this.#seen.get(id)
    if (known !== undefined && known.version >= version) return true
    if (this.#status !== null && status !== this.#status) {
      this.#unsent.delete(id)
      this.skip(task)
      return true
    }
    if (!this.#unsent.has(id) && this.#unsent.size >= MAX_UNSENT) return false
    this.#unsent.set(id, task)
    return true
  }

  /** Removes the state that has waited longest, and marks it as seen. */
  take(): UpscaleTask | undefined {
    const [task] = this.#unsent.values()
    if (task === undefined) return undefined
    this.#unsent.delete(task.id)
    this.skip(task)
    return task
  }
}
