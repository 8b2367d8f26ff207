/**
 * What connects the log lines and spans of a task. Null for tasks of earlier releases, also while their
 * replicas still run.
 */
export const TRACING_COLUMNS: readonly string[] = [
  'alter table task add column "correlationId" text',
  'alter table task add column traceparent text',
]
