import type { TaskHints } from '../tasks/ports.ts'

/** Hints within one process. */
export function createLocalHints(): TaskHints {
  const listeners = new Map<string, Set<() => void>>()
  return {
    announce(taskId) {
      for (const wake of listeners.get(taskId) ?? []) wake()
    },
    listen(taskId, wake) {
      // Wrapped, so that one function listening twice counts twice.
      const listener = () => wake()
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
