import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock, Log } from '../tasks/ports.ts'

/** Marks the files of this service in a folder that others may use. */
const SUFFIX = '.upscale-tmp'
const ABANDONED_AFTER_MS = 3_600_000

/** The path of a file that does not exist yet. Disposing deletes the file. */
interface TempFile extends AsyncDisposable {
  readonly path: string
}

/** Returns the path of a new temporary file; rejects if the folder cannot be used. */
export type NewTempFile = () => Promise<TempFile>

interface TempFilesOptions {
  /** Created if missing. */
  readonly folder: string
  readonly clock: Clock
  readonly log: Log
}

/**
 * The first call deletes the files that killed processes have left. Other processes may use the same folder,
 * so only files older than an hour are deleted.
 */
export function createTempFiles({ folder, clock, log }: TempFilesOptions): NewTempFile {
  let isSwept = false
  return async () => {
    // Each time: the folder may be deleted while the service runs.
    await mkdir(folder, { recursive: true, mode: 0o700 })
    if (!isSwept) {
      isSwept = true
      await deleteAbandoned(folder, clock.now(), log)
    }
    const path = join(folder, `${randomUUID()}${SUFFIX}`)
    return {
      path,
      async [Symbol.asyncDispose]() {
        await rm(path, { force: true }).catch((err: unknown) =>
          log.warn({ err, path }, 'failed to delete a temporary file; it is deleted after a later start'),
        )
      },
    }
  }
}

async function deleteAbandoned(folder: string, now: number, log: Log): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.endsWith(SUFFIX)) continue
    const path = join(folder, name)
    try {
      if (now - (await stat(path)).mtimeMs > ABANDONED_AFTER_MS) await rm(path, { force: true })
    } catch (err) {
      log.warn({ err, path }, 'failed to delete the temporary file of a killed process')
    }
  }
}
