import { sql, type QueryExecutorProvider, type Transaction } from 'kysely'
import { Migrator, type Migration } from 'kysely/migration'
import type { Database } from '../schema.ts'
import { toTables } from './001-tables.ts'
import { toResultTables } from './002-results.ts'
import { toQueueTables } from './003-queue.ts'
import { ENGINE_TABLES } from './004-engines.ts'
import { TRACING_COLUMNS } from './005-tracing.ts'
import { toWriteIndexes } from './006-writes.ts'
import type { MigrationDialect } from './migration-dialect.ts'

/** The major version of this build: it starts on every schema of this version and of earlier ones. */
export const MAJOR = 0

/**
 * The first migrations. Nothing is added here: every build refuses to start if `upscale_migration` has a name
 * that it does not know, so an earlier build could not be started again.
 */
const toFoundation = (dialect: MigrationDialect): Record<string, Migration> => ({
  '001-tables': toMigration(toTables(dialect)),
  '002-results': toMigration(toResultTables(dialect)),
  '003-queue': toMigration(toQueueTables(dialect)),
  '004-engines': toMigration(ENGINE_TABLES),
})

/**
 * Every later schema change ever released, in order, as `MAJOR-NUMBER-topic`. A released one is never edited:
 * add the next one. Replicas of earlier builds use the schema at the same time, so a change only expands it:
 * see "Schema changes" in ARCHITECTURE.md.
 */
export const toExpansions = (dialect: MigrationDialect): Readonly<Record<string, readonly string[]>> => ({
  '0-005-tracing': TRACING_COLUMNS,
  '0-006-writes': toWriteIndexes(dialect),
})

/** The names of the last migrations before and after; `from` is null for an empty database. */
export interface Migrated {
  readonly from: string | null
  readonly to: string
}

/** Runs `work` in one transaction, while no other process migrates. */
type Transact = <T>(work: (db: Transaction<Database>, dialect: MigrationDialect) => Promise<T>) => Promise<T>

/**
 * Migrates the schema to this version, or leaves it at a later one of the same major version. Each expansion
 * has a transaction of its own: the lock of a short change does not last as long as the next change takes.
 * @throws if a build of a later major version has migrated the schema.
 */
export async function migrate(transact: Transact): Promise<Migrated> {
  let { from, to } = await transact(migrateFoundation)
  const { last, pending } = await transact(readPending)
  if (last !== undefined) from = to = last
  for (const name of pending) {
    await transact((db, dialect) => expand(db, dialect, name))
    to = name
  }
  return { from, to }
}

async function migrateFoundation(db: Transaction<Database>, dialect: MigrationDialect) {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: () => Promise.resolve(toFoundation(dialect)) },
    migrationTableName: 'upscale_migration',
    migrationLockTableName: 'upscale_migration_lock',
    ...(dialect.schema !== undefined && { migrationTableSchema: dialect.schema }),
  })
  const migrations = await migrator.getMigrations()
  const { error } = await migrator.migrateToLatest()
  if (error !== undefined) throw new Error('The database could not be migrated', { cause: error })
  const from = migrations.findLast(({ executedAt }) => executedAt !== undefined)?.name ?? null
  return { from, to: migrations.at(-1)?.name ?? '' }
}

/**
 * The last expansion in the schema, which may be one of a later build, and those of this build that are not
 * in it.
 */
async function readPending(db: Transaction<Database>, dialect: MigrationDialect) {
  const applied = await readApplied(db, dialect)
  const tooNew = applied.find((name) => Number.parseInt(name) > MAJOR)
  if (tooNew !== undefined)
    throw new Error(`A later major version has migrated the database (${tooNew}); this one is ${MAJOR}`)
  const pending = Object.keys(toExpansions(dialect)).filter((name) => !applied.includes(name))
  return { last: applied.at(-1), pending }
}

async function expand(db: Transaction<Database>, dialect: MigrationDialect, name: string): Promise<void> {
  // Another replica may have done it since.
  if ((await readApplied(db, dialect)).includes(name)) return
  await runAll(db, toExpansions(dialect)[name] ?? [])
  await sql`insert into upscale_expansion values (${name}, ${new Date().toISOString()})`.execute(db)
}

/**
 * The names in the table of expansions, in order. It is created only if it is missing, because a user without
 * the permission to create tables may start the service on a migrated schema.
 */
async function readApplied(
  db: Transaction<Database>,
  { isPostgres }: MigrationDialect,
): Promise<readonly string[]> {
  const find = isPostgres
    ? sql<{ name: string | null }>`select to_regclass('upscale_expansion')::text as name`
    : sql<{ name: string }>`select name from sqlite_master where name = 'upscale_expansion'`
  const [table] = (await find.execute(db)).rows
  if (!table?.name)
    await runAll(db, [
      'create table upscale_expansion (name text primary key not null, "migratedAt" text not null)',
    ])
  const { rows } = await sql<{ name: string }>`select name from upscale_expansion`.execute(db)
  return rows.map(({ name }) => name).sort()
}

function toMigration(statements: readonly string[]): Migration {
  return { up: (db) => runAll(db, statements) }
}

async function runAll(db: QueryExecutorProvider, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}
