import { DatabaseSync } from 'node:sqlite'
import pg from 'pg'
import { openPostgres } from '../../src/store/postgres.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import type { Stores } from '../../src/store/sql.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import { openTestSchema, TEST_DATABASE_URL } from './postgres.ts'
import { openTempDir } from './temp-dir.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

/**
 * An empty database of its own: a SQLite file, or with TEST_DATABASE_URL a schema in that PostgreSQL server.
 */
export interface TestDatabase extends AsyncDisposable {
  /** As DATABASE_URL takes it. */
  readonly url: string
  /** Opens what is kept in it; once more for another process's view of it. */
  open(hints: TaskHints): Promise<Stores>
  /** Renames the task table while the service uses it, as a database without its tables would look. */
  breakTables(): Promise<void>
  /** Puts them back. */
  mendTables(): Promise<void>
  /** Deletes all tasks. */
  deleteTasks(): Promise<void>
  /** Runs a statement as another program. */
  run(statement: string): Promise<void>
}

const BREAK = 'ALTER TABLE task RENAME TO away'
const DELETE = 'DELETE FROM task'
const MEND = 'ALTER TABLE away RENAME TO task'

export async function openTestDatabase(): Promise<TestDatabase> {
  if (TEST_DATABASE_URL !== undefined) {
    const { url, [Symbol.asyncDispose]: dispose } = await openTestSchema()
    const run = async (statement: string) => {
      const client = new pg.Client({ connectionString: url })
      await client.connect()
      await client.query(statement)
      await client.end()
    }
    return {
      url,
      open: (hints) => openPostgres(url, hints, { log: silent }),
      breakTables: () => run(BREAK),
      mendTables: () => run(MEND),
      deleteTasks: () => run(DELETE),
      run,
      [Symbol.asyncDispose]: dispose,
    }
  }
  const dir = await openTempDir()
  const file = `${dir.path}/test.db`
  const run = (statement: string) => {
    using sqlite = new DatabaseSync(file)
    sqlite.exec(statement)
    return Promise.resolve()
  }
  return {
    url: `file:${file}`,
    open: (hints) => openSqlite(file, hints),
    breakTables: () => run(BREAK),
    mendTables: () => run(MEND),
    deleteTasks: () => run(DELETE),
    run,
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  }
}
