import { Kysely, PostgresDialect, sql, type SqlBool } from 'kysely'
import pg from 'pg'
import type { Log, TaskHints } from '../tasks/ports.ts'
import { ROW_LOCKED } from './locking.ts'
import { migrate } from './migrations.ts'
import type { Database } from './schema.ts'
import type { Sql } from './sql.ts'
import { SqlOutbox } from './sql-outbox.ts'
import { SqlTaskStore } from './sql-task-store.ts'
import type { Stores } from './stores.ts'
import { createCachedCounts } from './task-counts.ts'

/** Connections of one replica, besides those of its hints. */
const POOL_SIZE = 10
/** Together short enough for whoever waits for an answer to get one within 3 s, be it that the database is away. */
const CONNECT_TIMEOUT_MS = 1_000
const STATEMENT_TIMEOUT_MS = 1_500
/** The server's own limit cannot be heard of when the server is gone. */
const QUERY_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 250
/** A server that is started, or comes back, may take a while for the first connection. */
const MIGRATION_CONNECT_TIMEOUT_MS = 5_000

/** Our instants, which JavaScript's numbers hold exactly. */
const INT8 = pg.types.builtins.INT8

/** Connects to (and migrates) a PostgreSQL database that any number of replicas share. */
export async function openPostgres(
  url: string,
  hints: TaskHints,
  log: Log,
): Promise<Stores & { readonly pool: pg.Pool }> {
  await migrateDatabase(url)
  const pool = openPool(url, log, POOL_SIZE)
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  const postgres: Sql = {
    db,
    run: (query) => db.executeQuery(query),
    transact: (work) => db.transaction().execute((trx) => work((query) => trx.executeQuery(query))),
    lists: LISTS,
  }
  return {
    store: new SqlTaskStore(postgres, hints, ROW_LOCKED, createCachedCounts(postgres)),
    outbox: new SqlOutbox(postgres, ROW_LOCKED),
    pool,
    [Symbol.asyncDispose]: () => db.destroy(),
  }
}

const LISTS: Sql['lists'] = {
  toValue: (list) => list,
  haveId: (list) => sql<SqlBool>`id = any(${list})`,
}

/** On a connection without time limits: it waits for other replicas' migrations, and takes as long as it takes. */
async function migrateDatabase(url: string): Promise<void> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 1,
    connectionTimeoutMillis: MIGRATION_CONNECT_TIMEOUT_MS,
    application_name: 'upscale-gateway migrations',
  })
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  try {
    const { rows } = await sql<{ schema: string }>`select current_schema() as schema`.execute(db)
    await migrate(db, { id: sql`text collate "C"`, keepsCounts: false, schema: rows[0]?.schema ?? 'public' })
  } finally {
    await db.destroy()
  }
}

/**
 * A connection that is given up once an answer has not come in time: `pg` would go on waiting for it, and so
 * would whatever is asked next, such as the ROLLBACK.
 */
class ImpatientClient extends pg.Client {
  constructor(config?: pg.ClientConfig) {
    super(config)
    // The pool listens to clients that are idle only, and an error that nobody hears of ends the process.
    this.on('error', () => undefined)
  }

  override query(...args: unknown[]): never {
    const answer = (super.query as (...args: unknown[]) => unknown).apply(this, args)
    if (answer instanceof Promise)
      answer.catch((error: unknown) => {
        if (error instanceof Error && error.message === 'Query read timeout') this.#giveUp()
      })
    return answer as never
  }

  #giveUp(): void {
    // Not in the types: the socket.
    const { connection } = this as unknown as { connection: { stream: { destroy(): void } } }
    connection.stream.destroy()
  }
}

/** A pool that survives its server. */
export function openPool(url: string, log: Log, max: number): pg.Pool {
  const pool = new pg.Pool({
    Client: ImpatientClient,
    connectionString: url,
    max,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
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
