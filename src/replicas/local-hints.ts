import type { TaskHints } from '../tasks/ports.ts'
import type { UpscaleTask } from '../tasks/task.ts'

/** Hints within one process, which other kinds of hints are built on. */
export interface LocalHints extends TaskHints {
  /** Wakes every listener: after a time in which hints may have been lost. */
  announceAll(): void
}

export function createLocalHints(): LocalHints {
  const listeners = new Map<string, Set<(state?: UpscaleTask) => void>>()
  return {
    announce(taskId, state) {
      for (const wake of listeners.get(taskId) ?? []) wake(state)
    },
    announceAll() {
      for (const set of listeners.values()) for (const wake of set) wake()
    },
    listen(taskId, wake) {
      // Wrapped, so that one function listening twice counts twice.
      const listener = (state?: UpscaleTask) => wake(state)
      const set = listeners.get(taskId) ?? new Set()
      listeners.set(taskId, set.add(listener))
      return Promise.resolve({
        [Symbol.dispose]() {
          set.delete(listener)
          if (set.size === 0 && listeners.get(taskId) === set) listeners.delete(taskId)
        },
      })
    },
  }
}
