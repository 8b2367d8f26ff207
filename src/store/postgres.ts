import { Kysely, PostgresDialect, sql, type SqlBool } from 'kysely'
import pg from 'pg'
import type { Log, TaskHints } from '../tasks/ports.ts'
import { SqlCopyUses } from './copies.ts'
import { eraseOwner } from './erase.ts'
import { SqlOutbox } from './outbox.ts'
import { SqlQueue } from './queue.ts'
import { SqlResultJobs } from './result-jobs.ts'
import type { Migrated } from './migrations/migrations.ts'
import { MIGRATION_CONNECT_TIMEOUT_MS, migratePostgres } from './postgres-migrations.ts'
import { openPool, STATEMENT_TIMEOUT_MS, TimeoutClient } from './postgres-pool.ts'
import { createUpdateBatches } from './postgres-batches.ts'
import { isPostgresAway } from './postgres-errors.ts'
import { watchSpace } from './postgres-space.ts'
import type { Database } from './schema.ts'
import type { Sql, Stores } from './sql.ts'
import { SqlTaskStore } from './tasks.ts'
import { NO_TRACING, type Tracing } from '../tasks/tracing.ts'
import { createCommitSpans, traceSql } from './traced-sql.ts'
import { readBoundedCounts } from './task-counts.ts'
import { orUnavailable } from './unavailable.ts'

/** The default maximum of connections of one replica for statements. */
const POOL_SIZE = 10

/** The server's limit for the statements of a transaction. */
const LIMIT = sql`set local statement_timeout = ${sql.lit(STATEMENT_TIMEOUT_MS)}`

interface PostgresStores extends Stores {
  /** What opening has changed in the schema. */
  readonly migrated: Migrated
  readonly pool: pg.Pool
  /** Opens another pool of up to `size` connections, with the timeouts that this server supports. */
  openPool(url: string, size: number): pg.Pool
}

export interface PostgresOptions {
  readonly log: Log
  readonly tracing?: Tracing
  /** The maximum of connections; default 10. */
  readonly poolSize?: number
}

/** Connects to (and migrates) a PostgreSQL database that any number of replicas share. */
export async function openPostgres(
  url: string,
  hints: TaskHints,
  { log, tracing = NO_TRACING, poolSize = POOL_SIZE }: PostgresOptions,
): Promise<PostgresStores> {
  const limitsStatements = await supportsStatementTimeout(url)
  const migrated = await migratePostgres(url, log)
  const openLimited = (url: string, size: number) => openPool(url, log, size, limitsStatements)
  const pool = openLimited(url, poolSize)
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  const { watch, checkSpace } = watchSpace(db)
  const typed = <T>(work: Promise<T>) => orUnavailable(watch(work), isPostgresAway)
  const transact: Sql['transact'] = (work) =>
    typed(
      db.transaction().execute(async (trx) => {
        if (!limitsStatements) await trx.executeQuery(LIMIT.compile(db))
        return work((statement) => trx.executeQuery(statement.compile(db)))
      }),
    )
  const untraced: Sql = {
    db,
    // Set per transaction: a session setting would affect other clients of a transaction pooler.
    run: (statement) =>
      limitsStatements ? typed(db.executeQuery(statement.compile(db))) : transact((run) => run(statement)),
    transact,
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
  // Each update has its own span, although several may share a transaction.
  const inSpan = createCommitSpans(tracing, 'postgresql')
  const write = createUpdateBatches(untraced, log)
  const writeTraced: typeof write = (previous, next) => inSpan(() => write(previous, next))
  return {
    store: new SqlTaskStore(postgres, hints, () => readBoundedCounts(postgres), writeTraced),
    queueStore: new SqlQueue(postgres),
    outbox: new SqlOutbox(postgres),
    resultJobs: new SqlResultJobs(postgres),
    copyUses: new SqlCopyUses(postgres),
    migrated,
    eraseOwner: (owner) => eraseOwner(postgres, owner),
    pool,
    openPool: openLimited,
    [Symbol.asyncDispose]: () => postgres[Symbol.asyncDispose](),
  }
}

/**
 * PgBouncer refuses connections that set a statement timeout, or ignores it (`ignore_startup_parameters`);
 * then each transaction sets it.
 */
async function supportsStatementTimeout(url: string): Promise<boolean> {
  const client = new TimeoutClient({
    connectionString: url,
    connectionTimeoutMillis: MIGRATION_CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    application_name: 'upscale-gateway',
  })
  try {
    await client.connect()
    const { rows } = await client.query<{ ms: string }>(
      "SELECT setting AS ms FROM pg_settings WHERE name = 'statement_timeout'",
    )
    await client.end()
    return rows[0]?.ms === String(STATEMENT_TIMEOUT_MS)
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
