import type { MigrationDialect } from './migration-dialect.ts'

/**
 * Fewer index writes. The schedules hold only rows with a due time. Without "scheduledAt", the claim of a
 * delivery changes no indexed column. An older release uses these indexes, too.
 */
const INDEXES: readonly string[] = [
  'create index "taskByDue" on task ("dueAt", "scheduledAt") where "dueAt" is not null',
  'create index "deliveryByDue" on delivery ("dueAt") where "dueAt" is not null',
  'drop index "taskBySchedule"',
  'drop index "deliveryBySchedule"',
]

/**
 * PostgreSQL: free space in each page for HOT updates. Autovacuum by default waits for changes of a fifth of
 * the table: until then a claim of due rows reads past the index entries of all rows that were due.
 */
const STORAGE: readonly string[] = ['task', 'delivery'].map(
  (table) =>
    `alter table ${table} set (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)`,
)

export const toWriteIndexes = ({ isPostgres }: MigrationDialect): readonly string[] => [
  ...INDEXES,
  ...(isPostgres ? STORAGE : []),
]
