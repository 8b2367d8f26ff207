/** The command `migrate`. */
import { logMigration } from './announce.ts'
import { openFile } from './open-backends.ts'
import { createLocalHints } from './replicas/local-hints.ts'
import type { Settings } from './settings.ts'
import type { Migrated } from './store/migrations/migrations.ts'
import type { Log } from './tasks/ports.ts'

/**
 * Migrates the database of the settings, as a start does, and logs one line.
 * @throws StartError for an error that the operator can remedy.
 */
export async function migrateDatabase({ database }: Pick<Settings, 'database'>, log: Log): Promise<void> {
  const migrated = await (database.kind === 'sqlite'
    ? migrateFile(database.file)
    : import('./postgres-backends.ts').then(({ migrateServer }) => migrateServer(database.url, log)))
  if (migrated.from === migrated.to)
    log.info(migrated, `The database is at ${migrated.to}: nothing to migrate`)
  logMigration(migrated, log)
}

async function migrateFile(file: string): Promise<Migrated> {
  await using stores = await openFile(file, createLocalHints())
  return stores.migrated
}
