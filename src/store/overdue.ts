import { MAX_OVERDUE, type Overdue } from '../tasks/store-port.ts'
import type { Sql } from './sql.ts'

/** Reads an index of the tasks with a due time, from the oldest. */
export async function readOverdue({ db, run }: Sql, now: number): Promise<Overdue> {
  const due = db.selectFrom('task').select('dueAt').where('dueAt', '<=', now).where('images', 'is', null)
  const counted = db
    .selectFrom(due.orderBy('dueAt').limit(MAX_OVERDUE).as('due'))
    .select(({ fn }) => [fn.countAll().as('count'), fn.min('dueAt').as('oldestDueAt')])
  const [row] = (await run(counted)).rows
  return { count: Number(row?.count ?? 0), oldestDueAt: row?.oldestDueAt ?? null }
}
