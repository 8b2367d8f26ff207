import { mkdir, realpath } from 'node:fs/promises'
import { dirname } from 'node:path'
import { lockFile } from './lock-file.ts'
import { DatabaseLockedError } from './busy.ts'

/** A process that is just ending still holds its lock. */
const LOCK_TIMEOUT_MS = 500

/** Thrown when another process serves the same SQLite file. */
export class DatabaseInUseError extends Error {
  override name = 'DatabaseInUseError'
}

/**
 * Locks a SQLite file for one service: hints, budgets and limits are not shared with a second one.
 * @throws DatabaseInUseError
 */
export async function lockService(file: string): Promise<Disposable> {
  await mkdir(dirname(file), { recursive: true })
  // Beside the resolved file, so that every link to it finds the same lock.
  const path = await realpath(file).catch(() => file)
  try {
    return await lockFile(`${path}-service`, LOCK_TIMEOUT_MS)
  } catch (error) {
    if (!(error instanceof DatabaseLockedError)) throw error
    throw new DatabaseInUseError(
      `Another process serves ${file}. Replicas share PostgreSQL: set DATABASE_URL=postgres://…`,
    )
  }
}
