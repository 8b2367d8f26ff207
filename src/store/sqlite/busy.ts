import { setTimeout as pause } from 'node:timers/promises'

const SQLITE_BUSY = 5
/** The time between two attempts to get a lock. */
export const RETRY_MS = 5

/** Another connection held a lock for longer than the limit. */
export class DatabaseLockedError extends Error {
  override name = 'DatabaseLockedError'

  constructor(waitedMs: number, cause: unknown) {
    super(
      `Another process has held a lock on the SQLite file for ${waitedMs} ms: end its transaction ` +
        '(a shell, a backup or a VACUUM, for example)',
      { cause },
    )
  }
}

/** Whether SQLite refuses because of a lock of another connection. The low byte holds the primary code: 261 and 517 are BUSY, too. */
export function isBusy(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('errcode' in error)) return false
  return (Number(error.errcode) & 0xff) === SQLITE_BUSY
}

/**
 * Runs `work` until no lock stops it. SQLite's own busy time-out would block the event loop meanwhile.
 * @throws DatabaseLockedError when the lock is still held after `limitMs`.
 */
export async function retryBusy<T>(work: () => T, limitMs: number): Promise<T> {
  const until = performance.now() + limitMs
  for (;;) {
    try {
      return work()
    } catch (error) {
      if (!isBusy(error)) throw error
      if (performance.now() >= until) throw new DatabaseLockedError(limitMs, error)
    }
    await pause(RETRY_MS)
  }
}
