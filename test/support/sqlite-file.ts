import { DatabaseSync } from 'node:sqlite'
import { openTempDir } from './temp-dir.ts'

/** A path for a SQLite database, which a test also uses as another process does. */
export async function openSqliteFile() {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const file = `${dir.path}/tasks.db`
  const rest = opened.move()
  return {
    url: `file:${file}`,
    run(statement: string) {
      using sqlite = new DatabaseSync(file, { timeout: 5_000 })
      sqlite.exec(statement)
    },
    /** Holds the database's write lock, so that every commit waits. */
    lock() {
      const sqlite = new DatabaseSync(file, { timeout: 5_000 })
      sqlite.exec('BEGIN IMMEDIATE')
      return { [Symbol.dispose]: () => sqlite.close() }
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
