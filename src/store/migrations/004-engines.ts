/**
 * Several engines. The default applies to tasks of a release with one engine, also while its replicas still
 * run.
 */
export const ENGINE_TABLES: readonly string[] = [
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
