import { Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import type { Log, TaskHints } from '../tasks/ports.ts'
import { ROW_LOCKED } from './locking.ts'
import { migrate } from './migrations.ts'
import type { Database } from './schema.ts'
import { SqlOutbox } from './sql-outbox.ts'
import { SqlTaskStore } from './sql-task-store.ts'
import type { Stores } from './stores.ts'

/** Connections of one replica, besides those of its hints. */
const POOL_SIZE = 10
/** Short enough for whoever waits for an answer to get one, be it that the database is away. */
const CONNECT_TIMEOUT_MS = 1_500
const STATEMENT_TIMEOUT_MS = 1_500

/** Our instants, which JavaScript's numbers hold exactly. */
const INT8 = pg.types.builtins.INT8

/** Connects to (and migrates) a PostgreSQL database that any number of replicas share. */
export async function openPostgres(
  url: string,
  hints: TaskHints,
  log: Log,
): Promise<Stores & { readonly pool: pg.Pool }> {
  const pool = openPool(url, log, POOL_SIZE)
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  try {
    const { rows } = await sql<{ schema: string }>`select current_schema() as schema`.execute(db)
    await migrate(db, { id: sql`text collate "C"`, schema: rows[0]?.schema ?? 'public' })
  } catch (error) {
    await db.destroy()
    throw error
  }
  return {
    store: new SqlTaskStore(db, hints, ROW_LOCKED),
    outbox: new SqlOutbox(db, ROW_LOCKED),
    pool,
    [Symbol.asyncDispose]: () => db.destroy(),
  }
}

/** A pool that survives its server. */
export function openPool(url: string, log: Log, max: number): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    // The server's own limit cannot be heard of when the server is gone.
    query_timeout: STATEMENT_TIMEOUT_MS + 500,
    keepAlive: true,
    application_name: 'upscale-gateway',
    types: { getTypeParser: getTypeParser as typeof pg.types.getTypeParser },
  })
  // Without a listener a connection that breaks while idle would end the process.
  pool.on('error', (error) => log.warn({ err: error }, 'a database connection was lost'))
  return pool
}

function getTypeParser(
  oid: (typeof pg.types.builtins)[keyof typeof pg.types.builtins],
  format?: 'text',
): unknown {
  return oid === INT8 ? Number : pg.types.getTypeParser(oid, format)
}
