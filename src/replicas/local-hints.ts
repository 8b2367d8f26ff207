import type { TaskHints } from '../tasks/ports.ts'
import type { UpscaleTask } from '../tasks/task.ts'

type Wake = (state?: UpscaleTask) => void

/** Hints that replicas share. */
export interface SharedHints extends TaskHints, AsyncDisposable {
  /** Whether hints of other replicas arrive. */
  readonly isUp: boolean
}

/** Hints within one process. The hints between replicas extend this class. */
export class LocalHints implements TaskHints {
  readonly #listeners = new Map<string, Set<Wake>>()

  announce(topic: string, state?: UpscaleTask): void {
    for (const wake of this.#listeners.get(topic) ?? []) wake(state)
  }

  /** Wakes every listener. Call it when hints may have been lost. */
  announceAll(): void {
    for (const set of this.#listeners.values()) for (const wake of set) wake()
  }

  listen(topic: string, wake: Wake): Promise<Disposable> {
    // Wrapped, so that one function that listens twice counts twice.
    const listener: Wake = (state) => wake(state)
    const set = this.#listeners.get(topic) ?? new Set()
    this.#listeners.set(topic, set.add(listener))
    return Promise.resolve({
      [Symbol.dispose]: () => {
        set.delete(listener)
        if (set.size === 0 && this.#listeners.get(topic) === set) this.#listeners.delete(topic)
      },
    })
  }
}

export function createLocalHints(): LocalHints {
  return new LocalHints()
}
