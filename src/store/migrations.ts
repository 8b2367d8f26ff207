import { sql, type Kysely } from 'kysely'
import { Migrator, type Migration } from 'kysely/migration'
import type { Database } from './schema.ts'

/** Every schema change ever released, in order. A released migration is never edited: add the next one. */
const MIGRATIONS: Record<string, Migration> = {
  '001-task': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('task')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('version', 'integer', (column) => column.notNull())
        .addColumn('owner', 'text', (column) => column.notNull())
        .addColumn('status', 'text', (column) => column.notNull())
        .addColumn('source_task_id', 'text', (column) => column.notNull())
        .addColumn('image_index', 'integer', (column) => column.notNull())
        .addColumn('water_mark', 'text')
        .addColumn('images', 'text')
        .addColumn('failure', 'text')
        .addColumn('refused', 'integer', (column) => column.notNull())
        .addColumn('upstream_task_id', 'text')
        .addColumn('callback_token_hash', 'text', (column) => column.notNull())
        .addColumn('key_claim', 'text', (column) => column.unique())
        .addColumn('key_claim_until', 'bigint')
        .addColumn('picture_claim', 'text', (column) => column.unique())
        .addColumn('picture_claim_until', 'bigint')
        .addColumn('answer_by', 'bigint')
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('updated_at', 'bigint', (column) => column.notNull())
        .addColumn('settled_at', 'bigint')
        .addColumn('deadline_at', 'bigint', (column) => column.notNull())
        .addColumn('due_at', 'bigint')
        .addColumn('polls', 'integer', (column) => column.notNull())
        .addColumn('history', 'text', (column) => column.notNull())
        .execute()
      await db.schema.createIndex('task_by_owner').on('task').columns(['owner', 'created_at', 'id']).execute()
      await db.schema.createIndex('task_by_due').on('task').column('due_at').execute()
      await db.schema
        .createIndex('task_by_deadline')
        .on('task')
        .column('deadline_at')
        .where(sql.ref('settled_at'), 'is', null)
        .execute()
      await db.schema.createIndex('task_by_settled').on('task').column('settled_at').execute()
    },
  },
}

/** Brings the schema up to this version; several processes may do so at once. */
export async function migrate(db: Kysely<Database>): Promise<void> {
  const provider = { getMigrations: () => Promise.resolve(MIGRATIONS) }
  const { error } = await new Migrator({ db, provider }).migrateToLatest()
  if (error !== undefined) throw new Error('The database could not be migrated', { cause: error })
}
