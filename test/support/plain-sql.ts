import { Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import { isPostgresAway } from '../../src/store/postgres-errors.ts'
import type { Database } from '../../src/store/schema.ts'
import type { Sql } from '../../src/store/sql.ts'
import { orUnavailable } from '../../src/store/unavailable.ts'

/** Long for any machine; within the time limit of a test, which ends with the reason. */
const STATEMENT_TIMEOUT_MS = 20_000

/** A database on PostgreSQL that builds and runs statements as the store does, without its short timeouts. */
export function openPlainSql(url: string): Sql {
  const pool = new pg.Pool({ connectionString: url, statement_timeout: STATEMENT_TIMEOUT_MS })
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  const typed = <T>(work: Promise<T>) => orUnavailable(work, isPostgresAway)
  return {
    db,
    run: (statement) => typed(db.executeQuery(statement.compile(db))),
    transact: (work) =>
      typed(db.transaction().execute((trx) => work((statement) => trx.executeQuery(statement.compile(db))))),
    locksRows: true,
    isOneOf: (ids) => sql`id = any(${ids})`,
    [Symbol.asyncDispose]: () => db.destroy(),
  }
}
