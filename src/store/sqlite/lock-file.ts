import { DatabaseSync } from 'node:sqlite'
import { retryBusy } from './busy.ts'

/**
 * Locks a file, which is created when missing. The system releases the lock when the process ends, even by kill -9.
 * @throws DatabaseLockedError when another process still holds it after `timeoutMs`.
 */
export async function lockFile(path: string, timeoutMs: number): Promise<Disposable> {
  const db = new DatabaseSync(path, { timeout: 0 })
  try {
    await retryBusy(() => db.exec('BEGIN EXCLUSIVE'), timeoutMs)
  } catch (error) {
    db.close()
    throw error
  }
  return { [Symbol.dispose]: () => db.close() }
}
