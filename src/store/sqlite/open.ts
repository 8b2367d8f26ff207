import { open as openFile, realpath, stat, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { TaskHints } from '../../tasks/ports.ts'
import type { Migrated } from '../migrations/migrations.ts'
import { SqlCopyUses } from '../copies.ts'
import { eraseOwner } from '../erase.ts'
import { SqlOutbox } from '../outbox.ts'
import { SqlQueue } from '../queue.ts'
import { SqlResultJobs } from '../result-jobs.ts'
import type { Sql, Stores } from '../sql.ts'
import { readKeptCounts } from '../task-counts.ts'
import { NO_TRACING, type Tracing } from '../../tasks/tracing.ts'
import { traceSql } from '../traced-sql.ts'
import { SqlTaskStore } from '../tasks.ts'
import { createSqlite } from './dialect.ts'
import { lockFile, retryBusy } from './locks.ts'
import { migrateSqlite } from './migrate.ts'

/** How long a transaction waits for another process's lock. */
const LOCK_TIMEOUT_MS = 5_000
/** How long to wait for a process that is ending and still serves the file. */
const END_MS = 500
/**
 * The page cache of each connection: it holds the indexes of a busy service. SQLite's default of 2 MiB
 * suffices for 20,000 tasks.
 */
const CACHE_KIB = 16_384
/**
 * A commit that makes the log this many pages long (16 MiB) checkpoints it, which blocks the event loop.
 * SQLite's default of 1,000 writes and syncs the database file four times as often: with a million tasks,
 * mutations/s were a quarter lower.
 */
const CHECKPOINT_PAGES = 4_000

interface SqliteOptions {
  /** How long a transaction, and each step of opening, waits for another process's lock; default 5 s. */
  readonly lockTimeoutMs?: number
  /** Keeps other processes from opening the file until this one disposes; default false. */
  readonly exclusive?: boolean
  /** Default: nothing is traced. */
  readonly tracing?: Tracing
}

interface SqliteStores extends Stores {
  /** What opening has changed in the schema. */
  readonly migrated: Migrated
}

/**
 * Opens (and creates, and migrates) one SQLite file; its folder is made when missing.
 * @throws DatabaseInUseError when another process serves the file.
 */
export async function openSqlite(
  file: string,
  hints: TaskHints,
  { lockTimeoutMs = LOCK_TIMEOUT_MS, exclusive = false, tracing = NO_TRACING }: SqliteOptions = {},
): Promise<SqliteStores> {
  await using opened = new AsyncDisposableStack()
  const lock = opened.use(await lockFile(file, exclusive ? END_MS : 2 * lockTimeoutMs))
  const writer = open(opened, file)
  await switchToWal(writer, lockTimeoutMs)
  const reader = open(opened, file)
  // Before a checkpoint moves pages into the database, NORMAL syncs the log; GroupCommit syncs it after each
  // commit.
  writer.exec('PRAGMA synchronous = NORMAL')
  writer.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
  for (const each of [writer, reader]) each.exec(`PRAGMA cache_size = -${CACHE_KIB}`)
  const log = opened.use(await openLog(file, reader, lockTimeoutMs))
  const migrated = await retryBusy(() => migrateSqlite(writer), lockTimeoutMs)
  await log.datasync()
  const untraced: Sql = {
    ...createSqlite(writer, reader, { sync: () => log.datasync(), lockTimeoutMs }),
    checkFile: await createFileCheck(file),
  }
  // The connections are disposed before the log: a commit would fail without its log.
  opened.use(untraced)
  const sqlite = traceSql(untraced, tracing, 'sqlite')
  if (!exclusive) lock[Symbol.dispose]()
  const rest = opened.move()
  return {
    store: new SqlTaskStore(sqlite, hints, () => readKeptCounts(sqlite)),
    queueStore: new SqlQueue(sqlite),
    outbox: new SqlOutbox(sqlite),
    resultJobs: new SqlResultJobs(sqlite),
    copyUses: new SqlCopyUses(sqlite),
    migrated,
    eraseOwner: (owner) => eraseOwner(sqlite, owner),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** A connection without a busy timeout, which would block the event loop: BUSY is retried instead. */
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

/**
 * The write-ahead log: it exists from the first read on, and is the same file until the last connection
 * closes.
 */
async function openLog(file: string, reader: DatabaseSync, lockTimeoutMs: number): Promise<FileHandle> {
  await retryBusy(() => reader.exec('PRAGMA user_version'), lockTimeoutMs)
  // The log is beside the resolved file, not beside a link. Its directory entry must be durable, too.
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
