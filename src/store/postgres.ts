import { Kysely, PostgresAdapter, PostgresDialect, sql, type SqlBool, type Transaction } from 'kysely'
import pg from 'pg'
import type { Log, TaskHints } from '../tasks/ports.ts'
import { ROW_LOCKED } from './locking.ts'
import { migrate } from './migrations.ts'
import { watchSpace } from './postgres-space.ts'
import type { Database } from './schema.ts'
import type { Sql } from './sql.ts'
import { SqlOutbox } from './outbox.ts'
import { SqlTaskStore } from './tasks.ts'
import type { Stores } from './stores.ts'
import { createCachedCounts } from './task-counts.ts'

/** Connections of one replica, besides those of its hints. */
const POOL_SIZE = 10
/** Together short enough that every request is answered within 3 s, even if the database is down. */
const CONNECT_TIMEOUT_MS = 1_000
const STATEMENT_TIMEOUT_MS = 1_500
/** The server's own limit cannot be heard of when the server is gone. */
const QUERY_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 250
/** A server that is started, or comes back, may take a while for the first connection. */
const MIGRATION_CONNECT_TIMEOUT_MS = 5_000

/** The key of Kysely's own migration lock: replicas of older versions take it, too. */
const MIGRATION_LOCK = 3853314791062309107n
const MAX_RETRIES = 10

/** Our instants, which JavaScript's numbers hold exactly. */
const INT8 = pg.types.builtins.INT8

export interface PostgresStores extends Stores {
  readonly pool: pg.Pool
  /** Opens a further pool of up to so many connections, with the limits that this server takes. */
  openPool(url: string, size: number): pg.Pool
}

/** Connects to (and migrates) a PostgreSQL database that any number of replicas share. */
export async function openPostgres(url: string, hints: TaskHints, log: Log): Promise<PostgresStores> {
  const limitsStatements = await takesStatementTimeout(url)
  await migrateDatabase(url)
  const openLimited = (url: string, size: number) => openPool(url, log, size, limitsStatements)
  const pool = openLimited(url, POOL_SIZE)
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  const { watch, checkSpace } = watchSpace(db)
  const postgres: Sql = {
    db,
    run: (query) => watch(db.executeQuery(query)),
    transact: (work) => watch(db.transaction().execute((trx) => work((query) => trx.executeQuery(query)))),
    checkSpace,
    lists: LISTS,
  }
  return {
    store: new SqlTaskStore(postgres, hints, ROW_LOCKED, createCachedCounts(postgres)),
    outbox: new SqlOutbox(postgres, ROW_LOCKED),
    pool,
    openPool: openLimited,
    async [Symbol.asyncDispose]() {
      await db.destroy()
      // Kysely has not ended the pool where it has run no statement.
      if (!pool.ending) await pool.end()
    },
  }
}

const LISTS: Sql['lists'] = {
  toValue: (list) => list,
  haveId: (list) => sql<SqlBool>`id = any(${list})`,
}

/** PgBouncer refuses connections that set a statement time-out; then only the client's timeout applies. */
async function takesStatementTimeout(url: string): Promise<boolean> {
  const client = new ImpatientClient({
    connectionString: url,
    connectionTimeoutMillis: MIGRATION_CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    application_name: 'upscale-gateway',
  })
  try {
    await client.connect()
    await client.end()
    return true
  } catch (error) {
    if (
      error instanceof pg.DatabaseError &&
      error.code === '08P01' &&
      error.message.includes('statement_timeout')
    )
      return false
    throw error
  }
}

/** Kysely's own migration lock belongs to a session, which a transaction pooler does not keep: see migrateDatabase. */
class UnlockedAdapter extends PostgresAdapter {
  override acquireMigrationLock(): Promise<void> {
    return Promise.resolve()
  }
  override releaseMigrationLock(): Promise<void> {
    return Promise.resolve()
  }
}

class UnlockedDialect extends PostgresDialect {
  override createAdapter(): PostgresAdapter {
    return new UnlockedAdapter()
  }
}

/**
 * One process migrates at a time, in one transaction that holds the lock. Its connection has no timeouts: it may wait
 * for the migrations of other replicas, and a migration may take long.
 */
async function migrateDatabase(url: string): Promise<void> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 1,
    connectionTimeoutMillis: MIGRATION_CONNECT_TIMEOUT_MS,
    application_name: 'upscale-gateway migrations',
  })
  const db = new Kysely<Database>({ dialect: new UnlockedDialect({ pool }) })
  try {
    for (let tries = 0; ; tries += 1) {
      try {
        await db.transaction().execute(migrateLocked)
        return
      } catch (error) {
        // Kysely looks at all schemas of the database, and others may drop or rename something of theirs meanwhile.
        if (!isGone(error) || tries >= MAX_RETRIES) throw error
      }
    }
  } finally {
    await db.destroy()
  }
}

async function migrateLocked(db: Transaction<Database>): Promise<void> {
  await sql`select pg_advisory_xact_lock(${sql.lit(MIGRATION_LOCK)})`.execute(db)
  const { rows } = await sql<{ schema: string }>`select current_schema() as schema`.execute(db)
  await migrate(db, { id: sql`text collate "C"`, keepsCounts: false, schema: rows[0]?.schema ?? 'public' })
}

/** What PostgreSQL calls a schema, a table, a column, or an entry of its catalogue that is missing. */
const GONE = ['3F000', '42P01', '42703', 'XX000']

/** Whether PostgreSQL misses something that was there a moment ago. */
function isGone(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof pg.DatabaseError && GONE.includes(cause.code ?? '')
}

/**
 * A connection that is given up once an answer has not come in time: `pg` would go on waiting for it, and so
 * would whatever is asked next, such as the ROLLBACK.
 */
class ImpatientClient extends pg.Client {
  constructor(config?: pg.ClientConfig) {
    super(config)
    // The pool listens to idle clients only, and an unhandled 'error' event ends the process.
    this.on('error', () => undefined)
  }

  override query(...[query, ...rest]: unknown[]): never {
    const answer = (super.query as (...args: unknown[]) => unknown).call(this, withoutName(query), ...rest)
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

/** Removes the statement names of rate-limiter-flexible: a transaction pooler may switch to a connection without them. */
function withoutName(query: unknown): unknown {
  if (typeof query !== 'object' || query === null || !('name' in query)) return query
  return { ...query, name: undefined }
}

/** A pool that survives the loss of its server. `limitsStatements`: the server also enforces a statement timeout. */
export function openPool(url: string, log: Log, max: number, limitsStatements = true): pg.Pool {
  const pool = new pg.Pool({
    Client: ImpatientClient,
    connectionString: url,
    max,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    ...(limitsStatements && { statement_timeout: STATEMENT_TIMEOUT_MS }),
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
