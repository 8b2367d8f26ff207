import { setTimeout as pause } from 'node:timers/promises'
import { Kysely, PostgresAdapter, PostgresDialect, sql, type Transaction } from 'kysely'
import pg from 'pg'
import type { Log } from '../tasks/ports.ts'
import type { MigrationDialect } from './migrations/migration-dialect.ts'
import { migrate, type Migrated } from './migrations/migrations.ts'
import type { Database } from './schema.ts'

/** A server that has just started may be slow to accept the first connection. */
export const MIGRATION_CONNECT_TIMEOUT_MS = 5_000
/** The key of Kysely's own migration lock, which replicas of older versions take, too. */
const MIGRATION_LOCK = 3853314791062309107n
/**
 * How long a change waits for a table that another session (a backup, a shell) uses. The statements of
 * running replicas wait behind it meanwhile, and they time out after 1.5 s.
 */
const TABLE_LOCK_TIMEOUT_MS = 500
/** The pause until the next try. Statements that have waited run in this time. */
const TABLE_LOCK_PAUSE_MS = 2_000
const MAX_RETRIES = 10

/**
 * Kysely's own migration lock belongs to a session, which a transaction pooler does not keep: see
 * `migrateLocked`.
 */
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
 * Migrates a PostgreSQL database. One process does so at a time: each transaction holds the lock. The
 * connection has no timeouts: it may wait for the migrations of other replicas, and a migration may take
 * long.
 */
export async function migratePostgres(url: string, log: Log): Promise<Migrated> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 1,
    connectionTimeoutMillis: MIGRATION_CONNECT_TIMEOUT_MS,
    application_name: 'upscale-gateway migrations',
  })
  const db = new Kysely<Database>({ dialect: new UnlockedDialect({ pool }) })
  try {
    return await migrate((work) =>
      retryLocks(() => db.transaction().execute((trx) => runLocked(trx, work)), log),
    )
  } finally {
    await db.destroy()
  }
}

async function retryLocks<T>(run: () => Promise<T>, log: Log): Promise<T> {
  let missing = 0
  for (let tries = 0; ; tries += 1) {
    try {
      return await run()
    } catch (error) {
      const code = toCode(error)
      if (code === LOCK_NOT_AVAILABLE) {
        if (tries === 0)
          log.warn({}, 'The migration waits for another session (such as a backup) that uses its tables')
        await pause(TABLE_LOCK_PAUSE_MS)
      }
      // Kysely reads all schemas of the database. Other programs may drop or rename their tables meanwhile.
      else if (!MISSING.includes(code) || (missing += 1) > MAX_RETRIES) throw error
    }
  }
}

async function runLocked<T>(
  db: Transaction<Database>,
  work: (db: Transaction<Database>, dialect: MigrationDialect) => Promise<T>,
): Promise<T> {
  await sql`select pg_advisory_xact_lock(${sql.lit(MIGRATION_LOCK)})`.execute(db)
  // Set after the lock of the migration, which has no timeout.
  await sql`set local lock_timeout = ${sql.lit(TABLE_LOCK_TIMEOUT_MS)}`.execute(db)
  const { rows } = await sql<{ schema: string }>`select current_schema() as schema`.execute(db)
  const schema = rows[0]?.schema ?? 'public'
  return work(db, { id: 'text collate "C"', keepsCounts: false, isPostgres: true, schema })
}

const LOCK_NOT_AVAILABLE = '55P03'
/** A missing schema, table, column or catalogue entry. */
const MISSING = ['3F000', '42P01', '42703', 'XX000']

/** PostgreSQL's code of the error, or of its cause. */
function toCode(error: unknown): string {
  if (error instanceof pg.DatabaseError) return error.code ?? ''
  return error instanceof Error && error.cause !== undefined ? toCode(error.cause) : ''
}
