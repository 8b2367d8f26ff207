import type { MigrationDialect } from './migration-dialect.ts'

/**
 * The queue. Only tasks that wait in it are in its indexes, so that its statements do not depend on the
 * number of others.
 */
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

/**
 * With statistics of an empty queue, PostgreSQL sorts all waiting tasks for each claim until it collects new
 * ones. Without statistics it reads them in the order of the index.
 */
const NO_QUEUE_STATISTICS = [
  'alter table task alter column "queueRank" set statistics 0',
  'alter table task alter column "queueDueAt" set statistics 0',
]

export const toQueueTables = ({ isPostgres }: MigrationDialect): readonly string[] => [
  ...QUEUE_TABLES,
  ...(isPostgres ? NO_QUEUE_STATISTICS : []),
]
