-- The SQLite database of the first schema (migration 001-task), with three tasks.
CREATE TABLE "upscale_migration" ("name" varchar(255) not null primary key, "timestamp" varchar(255) not null);
CREATE TABLE "upscale_migration_lock" ("id" varchar(255) not null primary key, "is_locked" integer default 0 not null);
INSERT INTO upscale_migration VALUES ('001-task', '2026-01-01T00:00:00.000Z');
INSERT INTO upscale_migration_lock VALUES ('migration_lock', 0);
CREATE TABLE "task" ("id" text not null primary key, "version" integer not null, "owner" text not null, "status" text not null, "source_task_id" text not null, "image_index" integer not null, "water_mark" text, "images" text, "failure" text, "failed_by" text, "upstream_task_id" text, "callback_token_hash" text not null, "picture_digest" text not null, "images_expire_at" bigint, "answer_by" bigint, "created_at" bigint not null, "updated_at" bigint not null, "settled_at" bigint, "deadline_at" bigint not null, "due_at" bigint, "polls" integer not null, "history" text not null);
CREATE INDEX "task_by_owner" on "task" ("owner", "created_at", "id");
CREATE INDEX "task_by_picture" on "task" ("picture_digest", "created_at");
CREATE INDEX "task_by_due" on "task" ("due_at");
CREATE INDEX "task_by_settled" on "task" ("settled_at");
CREATE TABLE "idempotency_key" ("claim" text not null primary key, "task_id" text not null references "task" ("id") on delete cascade, "until" bigint not null);
CREATE INDEX "idempotency_key_by_task" on "idempotency_key" ("task_id");
CREATE TABLE "delivery" ("id" text not null primary key, "task_id" text not null references "task" ("id") on delete cascade, "owner" text not null, "url" text not null, "host" text not null, "version" integer not null, "state" text not null, "attempts" integer not null, "last_status_code" integer, "due_at" bigint, "leased_until" bigint, constraint "delivery_once" unique ("task_id", "url"));
CREATE INDEX "delivery_by_due" on "delivery" ("due_at");
CREATE TABLE "rate_limit" ("key" text not null primary key, "points" integer default 0 not null, "expire" bigint);
INSERT INTO task (id, version, owner, status, source_task_id, image_index, callback_token_hash, picture_digest, created_at, updated_at, settled_at, deadline_at, polls, history) VALUES
  ('one', 2, 'owner', 'PROCESSING', 'source', 0, 'hash', 'one', 1, 1, null, 9, 0, '[]'),
  ('two', 3, 'owner', 'FAILED', 'source', 0, 'hash', 'two', 2, 2, 2, 9, 0, '[]'),
  ('three', 3, 'owner', 'FAILED', 'source', 0, 'hash', 'three', 3, 3, 3, 9, 0, '[]');
