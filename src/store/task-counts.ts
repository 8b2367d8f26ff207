import { sql } from 'kysely'
import type { TaskStatus } from '../tasks/task.ts'
import type { Sql } from './sql.ts'

export type TaskCounts = Partial<Record<TaskStatus, number>>

/** SQLite: the counts that triggers keep. Also reads the task table, so that a missing table is an error. */
export async function readKeptCounts({ db, run }: Sql): Promise<TaskCounts> {
  const counts = db
    .selectFrom('taskCount')
    .select(['status', 'count'])
    .where(({ exists, selectFrom }) => exists(selectFrom('task').select('id')))
  return toCounts((await run(counts)).rows)
}

/** A table up to this size is counted as a whole: about 20,000 tasks, in a few milliseconds. */
const SMALL_BYTES = 32 * 1024 * 1024
/** Open tasks are counted up to this number; more are estimated. */
const MAX_OPEN = 10_000

/**
 * PostgreSQL: a count that writers keep would make them wait for each other, so a large table is not counted
 * as a whole. Its open tasks are counted by an index. Its settled tasks are estimated as the planner does:
 * from the number of rows and the frequency of each status at the last ANALYZE, and the size of the table
 * now.
 */
export async function readBoundedCounts(database: Sql): Promise<TaskCounts> {
  const table = await readStatistics(database)
  if (table.bytes <= SMALL_BYTES) return countTasks(database, 'all')
  const estimate = toEstimate(table)
  const { SUBMITTED = 0, PROCESSING = 0 } = await countTasks(database, 'open')
  const isExact = SUBMITTED + PROCESSING < MAX_OPEN
  return {
    SUBMITTED: isExact ? SUBMITTED : Math.max(SUBMITTED, estimate('SUBMITTED')),
    PROCESSING: isExact ? PROCESSING : Math.max(PROCESSING, estimate('PROCESSING')),
    SUCCEEDED: estimate('SUCCEEDED'),
    FAILED: estimate('FAILED'),
  }
}

function toEstimate({ rows, statuses, frequencies }: Statistics): (status: TaskStatus) => number {
  if (rows === null || statuses === null || frequencies === null)
    throw new Error('The task table has no statistics yet: run ANALYZE, or turn autovacuum on')
  return (status) => Math.round(rows * (frequencies[statuses.indexOf(status)] ?? 0))
}

async function countTasks({ db, run }: Sql, which: 'all' | 'open'): Promise<TaskCounts> {
  return toCounts((await run(toCountQuery(db, which))).rows)
}

export function toCountQuery(db: Sql['db'], which: 'all' | 'open') {
  const tasks = db
    .selectFrom('task')
    .select('status')
    // Without an order the planner expects open tasks everywhere in the table, and may scan it from the
    // start.
    .$if(which === 'open', (query) =>
      query.where('settledAt', 'is', null).orderBy('settledAt').limit(MAX_OPEN),
    )
  return db
    .selectFrom(tasks.as('tasks'))
    .select(({ fn }) => ['status', fn.countAll().as('count')])
    .groupBy('status')
}

interface Statistics {
  /** The size of the table without its indexes. */
  readonly bytes: number
  /** An estimate; null: the table was never analyzed. */
  readonly rows: number | null
  /** The statuses that ANALYZE has found, and the fraction of rows that has each. */
  readonly statuses: readonly string[] | null
  readonly frequencies: readonly number[] | null
}

async function readStatistics({ run }: Sql): Promise<Statistics> {
  const { rows } = await run(sql<Statistics>`
    select pg_relation_size(c.oid) as bytes,
      case when c.relpages > 0 and c.reltuples >= 0 then
        c.reltuples / c.relpages * (pg_relation_size(c.oid) / current_setting('block_size')::integer) end as rows,
      s.most_common_vals::text::text[] as statuses, s.most_common_freqs as frequencies
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
      left join pg_stats s on s.schemaname = n.nspname and s.tablename = 'task' and s.attname = 'status'
    where c.oid = 'task'::regclass`)
  const [table] = rows
  if (table === undefined) throw new Error('There is no table of tasks')
  return table
}

function toCounts(rows: readonly { status: TaskStatus; count: unknown }[]): TaskCounts {
  return Object.fromEntries(rows.map(({ status, count }) => [status, Number(count)]))
}
