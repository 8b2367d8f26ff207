import { randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock, Log } from '../tasks/ports.ts'

/** Tells the files of this service from others in the folder. */
const SUFFIX = '.picture-download'
const ABANDONED_AFTER_MS = 3_600_000

/** The path of a file that does not exist yet. Disposing deletes the file. */
interface TempFile extends AsyncDisposable {
  readonly path: string
}

interface TempFilesOptions {
  /** Created if missing. */
  readonly folder: string
  readonly clock: Clock
  readonly log: Log
}

/**
 * Returns a function that names a new temporary file. First deletes the files that a killed process has left. Other
 * processes may use the same folder: only files that are older than an hour are deleted.
 */
export function createTempFiles({ folder, clock, log }: TempFilesOptions): () => TempFile {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const names = readdirSync(folder).filter((name) => name.endsWith(SUFFIX))
  for (const name of names) removeAbandoned(join(folder, name), clock.now(), log)
  return () => {
    const path = join(folder, `${randomUUID()}${SUFFIX}`)
    return {
      path,
      async [Symbol.asyncDispose]() {
        await rm(path, { force: true }).catch((cause: unknown) =>
          log.warn({ cause, path }, 'Failed to delete a temporary file; it is deleted at a later start'),
        )
      },
    }
  }
}

function removeAbandoned(path: string, now: number, log: Log): void {
  try {
    // Undefined: another process has deleted it.
    const stats = statSync(path, { throwIfNoEntry: false })
    if (stats !== undefined && now - stats.mtimeMs > ABANDONED_AFTER_MS) rmSync(path, { force: true })
  } catch (cause) {
    log.warn({ cause, path }, 'Failed to delete the temporary file of a process that was killed')
  }
}
