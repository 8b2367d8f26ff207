import { sql, type Kysely } from 'kysely'
import { Migrator, type Migration } from 'kysely/migration'
import type { Database } from '../schema.ts'
import { toTables } from './001-tables.ts'
import { toResultTables } from './002-results.ts'
import { toQueueTables } from './003-queue.ts'
import { ENGINE_TABLES } from './004-engines.ts'
import { TRACING_COLUMNS } from './005-tracing.ts'
import type { MigrationDialect } from './migration-dialect.ts'

/** Every schema change ever released, in order. A released migration is never edited: add the next one. */
const toMigrations = (dialect: MigrationDialect): Record<string, Migration> => ({
  '001-tables': toMigration(toTables(dialect)),
  '002-results': toMigration(toResultTables(dialect)),
  '003-queue': toMigration(toQueueTables(dialect)),
  '004-engines': toMigration(ENGINE_TABLES),
  '005-tracing': toMigration(TRACING_COLUMNS),
})

function toMigration(statements: readonly string[]): Migration {
  return {
    async up(db: Kysely<unknown>) {
      for (const statement of statements) await sql.raw(statement).execute(db)
    },
  }
}

/** Migrates the schema to this version. */
export async function migrate(db: Kysely<Database>, dialect: MigrationDialect): Promise<void> {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: () => Promise.resolve(toMigrations(dialect)) },
    migrationTableName: 'upscale_migration',
    migrationLockTableName: 'upscale_migration_lock',
    ...(dialect.schema !== undefined && { migrationTableSchema: dialect.schema }),
  })
  const { error } = await migrator.migrateToLatest()
  if (error !== undefined) throw new Error('The database could not be migrated', { cause: error })
}
