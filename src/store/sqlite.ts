import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { Kysely, sql, SqliteDialect } from 'kysely'
import type { TaskHints } from '../tasks/ports.ts'
import { WRITE_LOCKED } from './locking.ts'
import { migrate } from './migrations.ts'
import type { Database } from './schema.ts'
import type { Stores } from './stores.ts'
import { SqlOutbox } from './sql-outbox.ts'
import { SqlTaskStore } from './sql-task-store.ts'

/** How long a statement waits for another process's write lock, in milliseconds. */
const BUSY_TIMEOUT_MS = 5_000

/** Opens (and creates, and migrates) one SQLite file; its folder is made when missing. */
export async function openSqlite(file: string, hints: TaskHints): Promise<Stores> {
  await mkdir(dirname(file), { recursive: true })
  using _turn = takeTurn(file)
  const sqlite = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS })
  sqlite.exec('PRAGMA journal_mode = WAL')
  // FULL: what was answered with 200 outlives a power cut, not only a crash of this process.
  sqlite.exec('PRAGMA synchronous = FULL')
  const db = new Kysely<Database>({ dialect: new SqliteDialect({ database: toKyselyDatabase(sqlite) }) })
  try {
    await migrate(db, { id: sql`text` })
  } catch (error) {
    await db.destroy()
    throw error
  }
  return {
    store: new SqlTaskStore(db, hints, WRITE_LOCKED),
    outbox: new SqlOutbox(db, WRITE_LOCKED),
    [Symbol.asyncDispose]: () => db.destroy(),
  }
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

/** node:sqlite in the form that Kysely's SQLite dialect expects, with each statement prepared once. */
function toKyselyDatabase(sqlite: DatabaseSync) {
  const statements = new Map<string, StatementSync>()
  return {
    close: () => sqlite.close(),
    prepare(sql: string) {
      // A transaction that reads before it writes must hold the write lock from its start: SQLite refuses
      // the upgrade at once, without the busy time-out, when another process has written in between.
      const text = sql === 'begin' ? 'begin immediate' : sql
      const statement = statements.get(text) ?? sqlite.prepare(text)
      statements.set(text, statement)
      return {
        reader: statement.columns().length > 0,
        all: (parameters: readonly unknown[]) => statement.all(...(parameters as SQLInputValue[])),
        run: (parameters: readonly unknown[]) => statement.run(...(parameters as SQLInputValue[])),
        iterate: (parameters: readonly unknown[]) => statement.iterate(...(parameters as SQLInputValue[])),
      }
    },
  }
}
