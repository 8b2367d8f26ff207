import { mkdir, open, realpath, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { sql } from 'kysely'
import type { TaskHints } from '../tasks/ports.ts'
import { WRITE_LOCKED } from './locking.ts'
import { migrate } from './migrations.ts'
import { createSqlite } from './sqlite-dialect.ts'
import type { Stores } from './stores.ts'
import { SqlOutbox } from './sql-outbox.ts'
import { SqlTaskStore } from './sql-task-store.ts'
import { readKeptCounts } from './task-counts.ts'

/** How long a statement waits for another process's write lock, in milliseconds. */
const BUSY_TIMEOUT_MS = 5_000

/** For each connection: the pages of the indexes that a busy service goes through. SQLite's own 2 MiB hold 20,000 tasks' worth. */
const CACHE_KIB = 16_384

/** Opens (and creates, and migrates) one SQLite file; its folder is made when missing. */
export async function openSqlite(file: string, hints: TaskHints): Promise<Stores> {
  await mkdir(dirname(file), { recursive: true })
  using _turn = takeTurn(file)
  const writer = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS })
  writer.exec('PRAGMA journal_mode = WAL')
  // What was answered with 200 outlives a power cut, not only a crash of this process: GroupCommit sees to it. NORMAL keeps the
  // order in which checkpoints need things on the disk.
  writer.exec('PRAGMA synchronous = NORMAL')
  const reader = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS })
  for (const each of [writer, reader]) each.exec(`PRAGMA cache_size = -${CACHE_KIB}`)
  const log = await openLog(file, reader).catch((error: unknown) => {
    reader.close()
    writer.close()
    throw error
  })
  const sqlite = createSqlite(writer, reader, () => log.datasync())
  const { db } = sqlite
  try {
    await migrate(db, { id: sql`text`, keepsCounts: true })
  } catch (error) {
    await db.destroy()
    await log.close()
    throw error
  }
  return {
    store: new SqlTaskStore(sqlite, hints, WRITE_LOCKED, () => readKeptCounts(sqlite)),
    outbox: new SqlOutbox(sqlite, WRITE_LOCKED),
    async [Symbol.asyncDispose]() {
      await db.destroy()
      await log.close()
    },
  }
}

/** The write-ahead log, which is there from the first reading on and is the same file until the last connection is closed. */
async function openLog(file: string, reader: DatabaseSync): Promise<FileHandle> {
  reader.exec('PRAGMA user_version')
  // That there is such a file at all has to be on the disk, too.
  // It stands beside the file itself, under whatever name that is known.
  const path = await realpath(file)
  await using folder = await open(dirname(path))
  await folder.sync()
  return await open(`${path}-wal`, 'r+')
}

/**
 * One process at a time opens a database: switching to WAL and migrating do not wait for one another as
 * statements do. A lock on a file beside it, which the system gives up even after kill -9.
 */
function takeTurn(file: string): Disposable {
  const lock = new DatabaseSync(`${file}-open`, { timeout: 2 * BUSY_TIMEOUT_MS })
  lock.exec('BEGIN EXCLUSIVE')
  return { [Symbol.dispose]: () => lock.close() }
}
