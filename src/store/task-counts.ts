import type { TaskStatus } from '../tasks/task.ts'
import type { Sql } from './sql.ts'

export type TaskCounts = Partial<Record<TaskStatus, number>>

/** With more tasks than this, counting takes long enough to be worth a cache. */
const SMALL = 10_000
const CACHE_MS = 15_000
/** After a failed count (mostly a timeout) the pause is this many times the duration of that count. */
const FAILURE_PAUSE = 10

/** SQLite: the counts that triggers keep. Also reads the task table, so that a missing table is an error. */
export async function readKeptCounts({ db, run }: Sql): Promise<TaskCounts> {
  const counts = db
    .selectFrom('taskCount')
    .select(['status', 'count'])
    .where(({ exists, selectFrom }) => exists(selectFrom('task').select('id')))
  return toCounts((await run(counts)).rows)
}

/**
 * PostgreSQL: counts the rows, because writers of one shared counter would wait for each other. One query runs at a
 * time; counts of more than SMALL tasks are cached.
 */
export function createCachedCounts({ db, run }: Sql): () => Promise<TaskCounts> {
  let counts: Promise<TaskCounts> | undefined
  let until = Infinity
  const count = async () => {
    const counts = db.selectFrom('task').select(({ fn }) => ['status', fn.countAll().as('count')])
    return toCounts((await run(counts.groupBy('status'))).rows)
  }
  return () => {
    const startedAt = performance.now()
    if (counts !== undefined && startedAt < until) return counts
    until = Infinity
    counts = count()
    counts.then(
      (found) => {
        const total = Object.values(found).reduce((sum, each) => sum + each, 0)
        until = total > SMALL ? performance.now() + CACHE_MS : 0
      },
      () => {
        const now = performance.now()
        until = now + FAILURE_PAUSE * (now - startedAt)
      },
    )
    return counts
  }
}

function toCounts(rows: readonly { status: TaskStatus; count: unknown }[]): TaskCounts {
  return Object.fromEntries(rows.map(({ status, count }) => [status, Number(count)]))
}
