import { sql, type Kysely } from 'kysely'
import { Migrator, type Migration } from 'kysely/migration'
import type { Database } from './schema.ts'

/** The differences between the dialects. */
interface MigrationDialect {
  /** The type of an id: text that is compared byte by byte, as in JavaScript. */
  readonly id: string
  /** Whether triggers count the tasks per status. With a single writer they block no other transaction. */
  readonly keepsCounts: boolean
  /** Whether `analyze` collects statistics per column, from which the database plans its statements. */
  readonly hasColumnStatistics: boolean
  /**
   * The schema of the tables; absent if the database has no schemas. Other programs in the same database may use
   * Kysely, too.
   */
  readonly schema?: string
}

const toTables = (id: string): readonly string[] => [
  `create table task (
    id ${id} primary key not null, version integer not null, owner text not null, status text not null,
    "sourceTaskId" text not null, "imageIndex" integer not null, "waterMark" text,
    images text, failure text, "failedBy" text, "upstreamTaskId" text,
    "callbackTokenHash" text not null, "pictureDigest" text not null, "imagesExpireAt" bigint, "answerBy" bigint,
    "createdAt" bigint not null, "updatedAt" bigint not null, "settledAt" bigint, "deadlineAt" bigint not null,
    "dueAt" bigint, "scheduledAt" bigint not null, polls integer not null,
    "notFoundCount" integer not null, "notFoundSince" bigint, history text not null)`,
  'create index "taskByOwner" on task (owner, "createdAt", id)',
  'create index "taskByOwnerStatus" on task (owner, status, "createdAt", id)',
  'create index "taskByPicture" on task ("pictureDigest", "createdAt")',
  // For due rows, and for rows that were scheduled before a clock was set back.
  'create index "taskBySchedule" on task ("dueAt", "scheduledAt")',
  'create index "taskBySettled" on task ("settledAt")',
  `create table "idempotencyKey" (
    claim text primary key not null, "taskId" ${id} not null references task (id) on delete cascade, until bigint not null)`,
  'create index "idempotencyKeyByTask" on "idempotencyKey" ("taskId")',
  'create index "idempotencyKeyByUntil" on "idempotencyKey" (until)',
  `create table delivery (
    id ${id} primary key not null, "taskId" ${id} not null references task (id) on delete cascade,
    owner text not null, url text not null, host text not null, version integer not null, state text not null,
    attempts integer not null, failures integer not null, "dueSince" bigint, "lastStatusCode" integer,
    "dueAt" bigint, "leasedUntil" bigint, "scheduledAt" bigint not null, unique ("taskId", url))`,
  'create index "deliveryBySchedule" on delivery ("dueAt", "scheduledAt")',
  'create table rate_limit (key text primary key not null, points integer not null default 0, expire bigint)',
]

/** Inspection and copies of results. */
const toResultTables = (id: string): readonly string[] => [
  'alter table task add column revision integer not null default 1',
  'alter table task add column "sourceImage" text',
  'alter table task add column "resultDueAt" bigint',
  'alter table task add column "resultAttempts" integer not null default 0',
  'create index "taskByResult" on task ("resultDueAt") where "resultDueAt" is not null',
  'create table copy (sha256 text primary key not null, state text not null, "leasedUntil" bigint)',
  `create index "copyUnused" on copy (state) where state = 'UNUSED'`,
  `create table "copyUse" (
    "taskId" ${id} not null references task (id) on delete cascade,
    sha256 text not null references copy (sha256), primary key ("taskId", sha256))`,
  'create index "copyUseBySha256" on "copyUse" (sha256)',
]

/** The queue. Only tasks that wait in it are in its indexes, so that its statements do not depend on the number of others. */
const QUEUE_TABLES: readonly string[] = [
  'alter table task add column "queueRank" double precision',
  'alter table task add column "queueDueAt" bigint',
  'alter table task add column "queueAttempts" integer not null default 0',
  'alter table task add column "queueRefusal" text',
  'alter table task add column "queueAhead" integer',
  'alter table task add column "sentAt" bigint',
  'alter table task add column "estimatedDoneAt" bigint',
  'create index "taskByQueue" on task ("queueRank", "createdAt", id, "queueDueAt", "deadlineAt") where "queueRank" is not null',
  'create index "taskByQueueOwner" on task (owner, "queueRank") where "queueRank" is not null',
  'create index "taskByQueueDue" on task ("queueDueAt") where "queueDueAt" is not null',
  'create index "taskByOwnerChange" on task (owner, "updatedAt", id)',
]

/** Several engines. The default applies to tasks of a release with one engine, also while its replicas still run. */
const ENGINE_TABLES: readonly string[] = [
  `alter table task add column engine text not null default 'kie-midjourney'`,
  'alter table task add column "requestedEngine" text',
  'alter table task add column "creditsConsumed" double precision',
  'alter table "idempotencyKey" add column "requestedEngine" text',
  'drop index "taskByQueue"',
  'create index "taskByEngineQueue" on task (engine, "queueRank", "createdAt", id, "queueDueAt", "deadlineAt") where "queueRank" is not null',
  'drop index "taskByQueueDue"',
  'create index "taskByEngineQueueDue" on task (engine, "queueDueAt") where "queueDueAt" is not null',
  `create table usage (
    day text not null, owner text not null, engine text not null, tasks integer not null, credits double precision not null,
    primary key (day, owner, engine))`,
]

/**
 * With statistics of an empty queue, PostgreSQL sorts all waiting tasks for each claim until it collects new ones. Without
 * statistics it reads them in the order of the index.
 */
const NO_QUEUE_STATISTICS = [
  'alter table task alter column "queueRank" set statistics 0',
  'alter table task alter column "queueDueAt" set statistics 0',
]

const ADD = 'insert into "taskCount" values (new.status, 1) on conflict do update set count = count + 1;'
const SUBTRACT = 'update "taskCount" set count = count - 1 where status = old.status;'
/** Counts the tasks per status in a table, so that the time of a read does not depend on the number of tasks. */
const COUNTS = [
  'create table "taskCount" (status text primary key not null, count integer not null)',
  `create trigger "taskInserted" after insert on task begin ${ADD} end`,
  `create trigger "taskDeleted" after delete on task begin ${SUBTRACT} end`,
  `create trigger "taskMoved" after update of status on task when old.status <> new.status
    begin ${SUBTRACT} ${ADD} end`,
]

/** Every schema change ever released, in order. A released migration is never edited: add the next one. */
const toMigrations = ({
  id,
  keepsCounts,
  hasColumnStatistics,
}: MigrationDialect): Record<string, Migration> => ({
  '001-tables': {
    async up(db: Kysely<unknown>) {
      for (const statement of [...toTables(id), ...(keepsCounts ? COUNTS : [])])
        await sql.raw(statement).execute(db)
    },
  },
  '002-results': {
    async up(db: Kysely<unknown>) {
      for (const statement of toResultTables(id)) await sql.raw(statement).execute(db)
    },
  },
  '003-queue': {
    async up(db: Kysely<unknown>) {
      for (const statement of [...QUEUE_TABLES, ...(hasColumnStatistics ? NO_QUEUE_STATISTICS : [])])
        await sql.raw(statement).execute(db)
    },
  },
  '004-engines': {
    async up(db: Kysely<unknown>) {
      for (const statement of ENGINE_TABLES) await sql.raw(statement).execute(db)
    },
  },
})

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
