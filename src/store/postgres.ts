import { Kysely, PostgresAdapter, PostgresDialect, sql, type SqlBool, type Transaction } from 'kysely'
import pg from 'pg'
import type { Log, TaskHints } from '../tasks/ports.ts'
import { migrate } from './migrations/migrations.ts'
import { SqlCopyUses } from './copies.ts'
import { eraseOwner } from './erase.ts'
import { SqlOutbox } from './outbox.ts'
import { SqlQueue } from './queue.ts'
import { SqlResultJobs } from './result-jobs.ts'
import { openPool, STATEMENT_TIMEOUT_MS, TimeoutClient } from './postgres-pool.ts'
import { watchSpace } from './postgres-space.ts'
import type { Database } from './schema.ts'
import type { Sql, Stores } from './sql.ts'
import { SqlTaskStore } from './tasks.ts'
import { NO_TRACING, type Tracing } from '../tasks/tracing.ts'
import { traceSql } from './traced-sql.ts'
import { readBoundedCounts } from './task-counts.ts'

/** Connections of one replica, besides those of its hints. */
const POOL_SIZE = 10
/** A server that has just started may be slow to accept the first connection. */
const MIGRATION_CONNECT_TIMEOUT_MS = 5_000

/** The key of Kysely's own migration lock, which replicas of older versions take, too. */
const MIGRATION_LOCK = 3853314791062309107n
const MAX_RETRIES = 10

interface PostgresStores extends Stores {
  readonly pool: pg.Pool
  /** Opens another pool of up to `size` connections, with the timeouts that this server supports. */
  openPool(url: string, size: number): pg.Pool
}

interface PostgresOptions {
  readonly log: Log
  readonly tracing?: Tracing
}

/** Connects to (and migrates) a PostgreSQL database that any number of replicas share. */
export async function openPostgres(
  url: string,
  hints: TaskHints,
  { log, tracing = NO_TRACING }: PostgresOptions,
): Promise<PostgresStores> {
  const limitsStatements = await supportsStatementTimeout(url)
  await migrateDatabase(url)
  const openLimited = (url: string, size: number) => openPool(url, log, size, limitsStatements)
  const pool = openLimited(url, POOL_SIZE)
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  const { watch, checkSpace } = watchSpace(db)
  const untraced: Sql = {
    db,
    run: (statement) => watch(db.executeQuery(statement.compile(db))),
    transact: (work) =>
      watch(db.transaction().execute((trx) => work((statement) => trx.executeQuery(statement.compile(db))))),
    locksRows: true,
    isOneOf: (ids) => sql<SqlBool>`id = any(${ids})`,
    checkSpace,
    async [Symbol.asyncDispose]() {
      await db.destroy()
      // Kysely does not end a pool on which it has run no statement.
      if (!pool.ending) await pool.end()
    },
  }
  const postgres = traceSql(untraced, tracing, 'postgresql')
  return {
    store: new SqlTaskStore(postgres, hints, () => readBoundedCounts(postgres)),
    queueStore: new SqlQueue(postgres),
    outbox: new SqlOutbox(postgres),
    resultJobs: new SqlResultJobs(postgres),
    copyUses: new SqlCopyUses(postgres),
    eraseOwner: (owner) => eraseOwner(postgres, owner),
    pool,
    openPool: openLimited,
    [Symbol.asyncDispose]: () => postgres[Symbol.asyncDispose](),
  }
}

/** PgBouncer refuses connections that set a statement timeout; then only the client's timeout applies. */
async function supportsStatementTimeout(url: string): Promise<boolean> {
  const client = new TimeoutClient({
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
        // Kysely reads all schemas of the database. Other programs may drop or rename their tables meanwhile.
        if (!isMissing(error) || tries >= MAX_RETRIES) throw error
      }
    }
  } finally {
    await db.destroy()
  }
}

async function migrateLocked(db: Transaction<Database>): Promise<void> {
  await sql`select pg_advisory_xact_lock(${sql.lit(MIGRATION_LOCK)})`.execute(db)
  const { rows } = await sql<{ schema: string }>`select current_schema() as schema`.execute(db)
  const schema = rows[0]?.schema ?? 'public'
  await migrate(db, { id: 'text collate "C"', keepsCounts: false, isPostgres: true, schema })
}

/** PostgreSQL's error codes for a missing schema, table, column or catalogue entry. */
const MISSING = ['3F000', '42P01', '42703', 'XX000']

/** Whether the migration failed because an object was dropped meanwhile. */
function isMissing(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof pg.DatabaseError && MISSING.includes(cause.code ?? '')
}
