import { mkdir, realpath } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** Thrown when another process serves the same SQLite file. */
export class DatabaseInUseError extends Error {
  override name = 'DatabaseInUseError'
  readonly code = 'DATABASE_IN_USE'
}

/**
 * Holds a SQLite file for one service: hints, budgets and limits of a second one would not reach the first. A lock
 * on a database beside it, which the system gives up even after kill -9.
 * @throws DatabaseInUseError
 */
export async function lockService(file: string): Promise<Disposable> {
  await mkdir(dirname(file), { recursive: true })
  // Under whatever name the file is known: the lock stands beside the file itself.
  const path = await realpath(file).catch(() => file)
  const lock = new DatabaseSync(`${path}-service`, { timeout: 500 })
  try {
    lock.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    if (!String(error).includes('locked')) throw error
    throw new DatabaseInUseError(
      `Another process serves ${file}. Replicas share PostgreSQL: set DATABASE_URL=postgres://…`,
    )
  }
  return { [Symbol.dispose]: () => lock.close() }
}
