import { mkdir, open as openFile, realpath, stat, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { sql } from 'kysely'
import type { TaskHints } from '../../tasks/ports.ts'
import { WRITE_LOCKED } from '../locking.ts'
import { lockFile } from './lock-file.ts'
import { migrate } from '../migrations.ts'
import type { Sql } from '../sql.ts'
import { retryBusy } from './busy.ts'
import { createSqlite } from './dialect.ts'
import type { Stores } from '../stores.ts'
import { SqlOutbox } from '../outbox.ts'
import { SqlTaskStore } from '../tasks.ts'
import { readKeptCounts } from '../task-counts.ts'

/** How long a transaction waits for another process's lock. */
const LOCK_TIMEOUT_MS = 5_000

/** For each connection: the pages of the indexes that a busy service goes through. SQLite's own 2 MiB hold 20,000 tasks' worth. */
const CACHE_KIB = 16_384

export interface SqliteOptions {
  /** How long a transaction, and each step of opening, waits for another process's lock; default 5 s. */
  readonly lockTimeoutMs?: number
}

/** Opens (and creates, and migrates) one SQLite file; its folder is made when missing. */
export async function openSqlite(
  file: string,
  hints: TaskHints,
  { lockTimeoutMs = LOCK_TIMEOUT_MS }: SqliteOptions = {},
): Promise<Stores> {
  await mkdir(dirname(file), { recursive: true })
  await using opened = new AsyncDisposableStack()
  // Switching to WAL and migrating do not queue as statements do: one process at a time.
  using _turn = await lockFile(`${file}-open`, 2 * lockTimeoutMs)
  const writer = open(opened, file)
  await switchToWal(writer, lockTimeoutMs)
  const reader = open(opened, file)
  // Before a checkpoint moves pages into the database, NORMAL syncs the log; GroupCommit syncs it after each commit.
  writer.exec('PRAGMA synchronous = NORMAL')
  for (const each of [writer, reader]) each.exec(`PRAGMA cache_size = -${CACHE_KIB}`)
  const log = opened.use(await openLog(file, reader, lockTimeoutMs))
  const sqlite: Sql = {
    ...createSqlite(writer, reader, { sync: () => log.datasync(), lockTimeoutMs }),
    checkFile: await createFileCheck(file),
  }
  // The connections first: a commit would fail without its log.
  opened.defer(() => sqlite.db.destroy())
  await migrate(sqlite.db, { id: sql`text`, keepsCounts: true })
  const rest = opened.move()
  return {
    store: new SqlTaskStore(sqlite, hints, WRITE_LOCKED, () => readKeptCounts(sqlite)),
    outbox: new SqlOutbox(sqlite, WRITE_LOCKED),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** A connection without a busy time-out, which would block the event loop: BUSY is retried instead. */
function open(opened: AsyncDisposableStack, file: string): DatabaseSync {
  return opened.adopt(new DatabaseSync(file, { timeout: 0 }), (db) => {
    if (db.isOpen) db.close()
  })
}

async function switchToWal(writer: DatabaseSync, lockTimeoutMs: number): Promise<void> {
  const mode = await retryBusy(
    () => writer.prepare('PRAGMA journal_mode = WAL').get()?.journal_mode,
    lockTimeoutMs,
  )
  if (mode !== 'wal')
    throw new Error(`SQLite cannot use a write-ahead log here (journal_mode is ${String(mode)})`)
}

/** The write-ahead log: it exists from the first read on, and is the same file until the last connection closes. */
async function openLog(file: string, reader: DatabaseSync, lockTimeoutMs: number): Promise<FileHandle> {
  await retryBusy(() => reader.exec('PRAGMA user_version'), lockTimeoutMs)
  // The log is beside the resolved file, not beside a link; its directory entry must be durable, too.
  const path = await realpath(file)
  await using folder = await openFile(dirname(path))
  await folder.sync()
  return await openFile(`${path}-wal`, 'r+')
}

/** Compares inodes, as SQLite itself does with a rollback journal. */
async function createFileCheck(file: string): Promise<() => Promise<void>> {
  const readInode = async () => (await stat(file, { bigint: true })).ino
  const opened = await readInode()
  return async () => {
    if ((await readInode().catch(() => undefined)) !== opened)
      throw new Error(`${file} was deleted, moved or replaced: put it back, or restart the service`)
  }
}
