import { sql, type Expression, type Kysely } from 'kysely'
import { Migrator, type Migration } from 'kysely/migration'
import type { Database } from './schema.ts'

/** What differs between dialects. */
export interface MigrationDialect {
  /** Type of a text that is compared byte by byte, as JavaScript does. */
  readonly id: Expression<unknown>
  /** Whether triggers keep the number of tasks per status. With a single writer they block no other transaction. */
  readonly keepsCounts: boolean
  /** The schema that all is in; undefined where there are none. Others in the same database may use Kysely, too. */
  readonly schema?: string
}

/** Every schema change ever released, in order. A released migration is never edited: add the next one. */
const toMigrations = ({ id, keepsCounts }: MigrationDialect): Record<string, Migration> => ({
  '001-task': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('task')
        .addColumn('id', id, (column) => column.primaryKey().notNull())
        .addColumn('version', 'integer', (column) => column.notNull())
        .addColumn('owner', 'text', (column) => column.notNull())
        .addColumn('status', 'text', (column) => column.notNull())
        .addColumn('source_task_id', 'text', (column) => column.notNull())
        .addColumn('image_index', 'integer', (column) => column.notNull())
        .addColumn('water_mark', 'text')
        .addColumn('images', 'text')
        .addColumn('failure', 'text')
        .addColumn('failed_by', 'text')
        .addColumn('upstream_task_id', 'text')
        .addColumn('callback_token_hash', 'text', (column) => column.notNull())
        .addColumn('picture_digest', 'text', (column) => column.notNull())
        .addColumn('images_expire_at', 'bigint')
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
      await db.schema
        .createIndex('task_by_picture')
        .on('task')
        .columns(['picture_digest', 'created_at'])
        .execute()
      await db.schema.createIndex('task_by_due').on('task').column('due_at').execute()
      await db.schema.createIndex('task_by_settled').on('task').column('settled_at').execute()
      await db.schema
        .createTable('idempotency_key')
        .addColumn('claim', 'text', (column) => column.primaryKey().notNull())
        .addColumn('task_id', id, (column) => column.notNull().references('task.id').onDelete('cascade'))
        .addColumn('until', 'bigint', (column) => column.notNull())
        .execute()
      await db.schema.createIndex('idempotency_key_by_task').on('idempotency_key').column('task_id').execute()
      await db.schema
        .createTable('delivery')
        .addColumn('id', id, (column) => column.primaryKey().notNull())
        .addColumn('task_id', id, (column) => column.notNull().references('task.id').onDelete('cascade'))
        .addColumn('owner', 'text', (column) => column.notNull())
        .addColumn('url', 'text', (column) => column.notNull())
        .addColumn('host', 'text', (column) => column.notNull())
        .addColumn('version', 'integer', (column) => column.notNull())
        .addColumn('state', 'text', (column) => column.notNull())
        .addColumn('attempts', 'integer', (column) => column.notNull())
        .addColumn('last_status_code', 'integer')
        .addColumn('due_at', 'bigint')
        .addColumn('leased_until', 'bigint')
        .addUniqueConstraint('delivery_once', ['task_id', 'url'])
        .execute()
      await db.schema.createIndex('delivery_by_due').on('delivery').column('due_at').execute()
      // As rate-limiter-flexible wants it.
      await db.schema
        .createTable('rate_limit')
        .addColumn('key', 'text', (column) => column.primaryKey().notNull())
        .addColumn('points', 'integer', (column) => column.notNull().defaultTo(0))
        .addColumn('expire', 'bigint')
        .execute()
    },
  },
  '002-counts': {
    async up(db: Kysely<unknown>) {
      // A filtered page reads only its own rows.
      await db.schema
        .createIndex('task_by_owner_status')
        .on('task')
        .columns(['owner', 'status', 'created_at', 'id'])
        .execute()
      await db.schema.createIndex('idempotency_key_by_until').on('idempotency_key').column('until').execute()
      if (keepsCounts) await keepCounts(db)
    },
  },
  '003-schedule': {
    async up(db: Kysely<unknown>) {
      for (const table of ['task', 'delivery']) {
        await db.schema
          .alterTable(table)
          .addColumn('scheduled_at', 'bigint', (column) => column.notNull().defaultTo(0))
          .execute()
        // One index for due rows and for rows that were scheduled before a clock was set back.
        await db.schema.dropIndex(`${table}_by_due`).execute()
        await db.schema
          .createIndex(`${table}_by_schedule`)
          .on(table)
          .columns(['due_at', 'scheduled_at'])
          .execute()
      }
      await db.schema
        .alterTable('delivery')
        .addColumn('failures', 'integer', (column) => column.notNull().defaultTo(0))
        .execute()
      await db.schema.alterTable('delivery').addColumn('owed_since', 'bigint').execute()
      // Pending deliveries keep their place in the schedule; their total time begins now.
      await sql`update delivery set failures = attempts, owed_since = due_at where due_at is not null`.execute(
        db,
      )
    },
  },
  '004-absences': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable('task')
        .addColumn('absences', 'integer', (column) => column.notNull().defaultTo(0))
        .execute()
      await db.schema.alterTable('task').addColumn('absent_since', 'bigint').execute()
    },
  },
})

/** Keeps the number of tasks per status in a table, by triggers: reading it does not depend on how many tasks there are. */
async function keepCounts(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('task_count')
    .addColumn('status', 'text', (column) => column.primaryKey().notNull())
    .addColumn('count', 'integer', (column) => column.notNull())
    .execute()
  await sql`insert into task_count select status, count(*) from task group by status`.execute(db)
  const add = sql`insert into task_count values (new.status, 1) on conflict do update set count = count + 1;`
  const subtract = sql`update task_count set count = count - 1 where status = old.status;`
  await sql`create trigger task_inserted after insert on task begin ${add} end`.execute(db)
  await sql`create trigger task_deleted after delete on task begin ${subtract} end`.execute(db)
  await sql`create trigger task_moved after update of status on task when old.status <> new.status
    begin ${subtract} ${add} end`.execute(db)
}

/** Brings the schema up to this version. */
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
