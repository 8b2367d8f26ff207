import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import {
  Kysely,
  SqliteAdapter,
  SqliteDriver,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type DatabaseConnection,
} from 'kysely'
import { migrate, type Migrated } from '../migrations/migrations.ts'
import type { Database } from '../schema.ts'

/** Migrates a SQLite file through a connection that nothing else uses yet. */
export function migrateSqlite(db: DatabaseSync): Promise<Migrated> {
  const kysely = new Kysely<Database>({
    dialect: {
      createAdapter: () => new MigrationAdapter(),
      createDriver: () => new MigrationDriver(db),
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  })
  const dialect = { id: 'text', keepsCounts: true, isPostgres: false }
  return migrate((work) => kysely.transaction().execute((trx) => work(trx, dialect)))
}

/** SQLite rolls back schema changes, too; Kysely does not rely on that. */
class MigrationAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true
  }
}

class MigrationDriver extends SqliteDriver {
  readonly #db: DatabaseSync

  constructor(db: DatabaseSync) {
    super({
      database: {
        close: () => undefined,
        prepare(text) {
          const statement = db.prepare(text)
          return {
            reader: statement.columns().length > 0,
            all: (values) => statement.all(...(values as SQLInputValue[])),
            run: (values) => statement.run(...(values as SQLInputValue[])),
            iterate: (values) => statement.iterate(...(values as SQLInputValue[])),
          }
        },
      },
    })
    this.#db = db
  }

  /**
   * After some errors, such as a full disk, SQLite has rolled back already. A second rollback would hide the
   * first error.
   */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (this.#db.isTransaction) await super.rollbackTransaction(connection)
  }
}
