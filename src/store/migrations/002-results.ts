import type { MigrationDialect } from './migration-dialect.ts'

/** Inspection and copies of results. */
export const toResultTables = ({ id }: MigrationDialect): readonly string[] => [
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
