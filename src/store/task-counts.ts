import type { TaskStatus } from '../tasks/task.ts'
import type { Sql } from './sql.ts'

export type TaskCounts = Partial<Record<TaskStatus, number>>

/** With more tasks than this, counting takes long enough to be worth a cache. */
const SMALL = 10_000
const CACHE_MS = 15_000

/** SQLite: the counts that triggers keep. Needs the task table, too: without it there is nothing to count. */
export async function readKeptCounts({ db }: Sql): Promise<TaskCounts> {
  const rows = await db
    .selectFrom('task_count')
    .select(['status', 'count'])
    .where(({ exists, selectFrom }) => exists(selectFrom('task').select('id')))
    .execute()
  return toCounts(rows)
}

/**
 * PostgreSQL: counts the rows, because writers of one shared counter would wait for each other. One query at a time; the
 * counts of many tasks are kept for a while.
 */
export function createCachedCounts({ db }: Sql): () => Promise<TaskCounts> {
  let running: Promise<TaskCounts> | undefined
  let cached: { readonly counts: TaskCounts; readonly until: number } | undefined
  const count = async () => {
    const rows = await db
      .selectFrom('task')
      .select(({ fn }) => ['status', fn.countAll().as('count')])
      .groupBy('status')
      .execute()
    const counts = toCounts(rows)
    const total = Object.values(counts).reduce((sum, each) => sum + each, 0)
    cached = total > SMALL ? { counts, until: performance.now() + CACHE_MS } : undefined
    return counts
  }
  return () => {
    if (cached !== undefined && performance.now() < cached.until) return Promise.resolve(cached.counts)
    running ??= count().finally(() => (running = undefined))
    return running
  }
}

function toCounts(rows: readonly { status: TaskStatus; count: unknown }[]): TaskCounts {
  return Object.fromEntries(rows.map(({ status, count }) => [status, Number(count)]))
}
