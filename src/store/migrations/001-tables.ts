import type { MigrationDialect } from './migration-dialect.ts'

const ADD = 'insert into "taskCount" values (new.status, 1) on conflict do update set count = count + 1;'
const SUBTRACT = 'update "taskCount" set count = count - 1 where status = old.status;'
/**
 * Counts the tasks per status in a table, so that the time of a read does not depend on the number of tasks.
 */
const COUNTS = [
  'create table "taskCount" (status text primary key not null, count integer not null)',
  `create trigger "taskInserted" after insert on task begin ${ADD} end`,
  `create trigger "taskDeleted" after delete on task begin ${SUBTRACT} end`,
  `create trigger "taskMoved" after update of status on task when old.status <> new.status
    begin ${SUBTRACT} ${ADD} end`,
]

/** Tasks, idempotency keys, deliveries and the counts of rate limits. */
export const toTables = ({ id, keepsCounts }: MigrationDialect): readonly string[] => [
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
  ...(keepsCounts ? COUNTS : []),
]
