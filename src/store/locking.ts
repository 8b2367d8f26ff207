import { sql, type Transaction } from 'kysely'
import type { Database } from './schema.ts'

/** How a dialect keeps concurrent writers apart. */
export interface Locking {
  /** Until the transaction ends, whoever else locks one of these names waits. */
  lock(trx: Transaction<Database>, names: readonly string[]): Promise<void>
  /** Whether rows can be locked one by one, and locked ones skipped. */
  readonly rows: boolean
}

/** SQLite: a transaction holds the only write lock from its start, so nobody else is there to be kept apart. */
export const WRITE_LOCKED: Locking = { lock: () => Promise.resolve(), rows: false }

/** PostgreSQL: advisory locks for what has no row yet, row locks for what has. */
export const ROW_LOCKED: Locking = {
  async lock(trx, names) {
    // Always in the same order, so that no two transactions wait for one another.
    for (const name of [...names].sort())
      await sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`.execute(trx)
  },
  rows: true,
}
