import { sql } from 'kysely'
import type { Run, Sql } from './sql.ts'

/** How a dialect keeps concurrent writers apart. */
export interface Locking {
  /** Other transactions that lock one of these names wait until this one ends. */
  lock(run: Run, sql: Sql, names: readonly string[]): Promise<void>
  /** Whether rows can be locked one by one, and locked ones skipped. */
  readonly rows: boolean
}

/** SQLite: a transaction holds the only write lock from its start, so no other locks are needed. */
export const WRITE_LOCKED: Locking = { lock: () => Promise.resolve(), rows: false }

/** PostgreSQL: advisory locks for what has no row yet, row locks for what has. */
export const ROW_LOCKED: Locking = {
  async lock(run, { db }, names) {
    // Always in the same order, so that no two transactions wait for one another.
    for (const name of [...names].sort())
      await run(sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`.compile(db))
  },
  rows: true,
}
