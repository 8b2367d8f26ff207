import { mkdir, realpath } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
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

/** Another process serves the same SQLite file. */
export class DatabaseInUseError extends Error {
  override name = 'DatabaseInUseError'
}

/**
 * Whether another connection's lock is the reason of an error. The low byte holds the primary code: 261 and
 * 517 are BUSY, too.
 */
export function isBusy(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false
  const busy = 'errcode' in error && (Number(error.errcode) & 0xff) === SQLITE_BUSY
  return busy || ('cause' in error && isBusy(error.cause))
}

/**
 * Repeats `work` while a lock stops it. SQLite's own busy timeout would block the event loop meanwhile.
 * @throws DatabaseLockedError when the lock is still held after `limitMs`.
 */
export async function retryBusy<T>(work: () => T | Promise<T>, limitMs: number): Promise<T> {
  const until = performance.now() + limitMs
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!isBusy(error)) throw error
      if (performance.now() >= until) throw new DatabaseLockedError(limitMs, error)
    }
    await pause(RETRY_MS)
  }
}

/**
 * Locks a SQLite file for one process, by a lock on a second file beside it. The system releases the lock
 * when the process ends, even by kill -9. It prevents conflicts while the file is opened, switched to WAL and
 * migrated, and keeps out a second process, which would not share hints, poll budget and rate limits.
 * @throws DatabaseInUseError when another process still holds the lock after `waitMs`.
 */
export async function lockFile(file: string, waitMs: number): Promise<Disposable> {
  await mkdir(dirname(file), { recursive: true })
  // Beside the resolved file, so that every link to it finds the same lock.
  const path = await realpath(file).catch(() => file)
  const db = new DatabaseSync(`${path}-lock`, { timeout: 0 })
  try {
    await retryBusy(() => db.exec('BEGIN EXCLUSIVE'), waitMs)
    return {
      [Symbol.dispose]() {
        if (db.isOpen) db.close()
      },
    }
  } catch (error) {
    db.close()
    if (!(error instanceof DatabaseLockedError)) throw error
    throw new DatabaseInUseError(
      `Another process serves ${file}: stop it first. Replicas share PostgreSQL: set DATABASE_URL=postgres://…`,
    )
  }
}
