/** The erasure of an owner. */
import { TASK_STATUSES } from '../tasks/task.ts'
import { releaseCopies } from './copies.ts'
import type { Erasure, Run, Sql } from './sql.ts'

/** Tasks in one transaction: a service beside it waits for their locks. */
const BATCH = 200
const OPEN = TASK_STATUSES.filter((status) => status !== 'SUCCEEDED' && status !== 'FAILED')

/**
 * Deletes all settled tasks of an owner with their keys, deliveries and uses of copies, and then the owner's
 * usage. Deletes nothing while the owner has open tasks. Safe beside running services, and can be repeated.
 */
export async function eraseOwner(sql: Sql, owner: string): Promise<Erasure> {
  const total = { tasks: 0, keys: 0, deliveries: 0, copies: 0, usage: 0, open: 0 }
  for (;;) {
    const batch = await sql.transact((run) => eraseBatch(sql, run, owner))
    for (const kind of ['tasks', 'keys', 'deliveries', 'copies', 'usage'] as const) total[kind] += batch[kind]
    if (batch.open > 0 || batch.tasks === 0) return { ...total, open: batch.open }
  }
}

/** Deletes some tasks; when there are none, the usage. */
async function eraseBatch(sql: Sql, run: Run, owner: string): Promise<Erasure> {
  const { db, locksRows } = sql
  const nothing = { tasks: 0, keys: 0, deliveries: 0, copies: 0, usage: 0, open: 0 }
  const own = db.selectFrom('task').where('owner', '=', owner)
  const count = own.where('status', 'in', OPEN).select((select) => select.fn.countAll<number>().as('count'))
  const open = Number((await run(count)).rows[0]?.count)
  if (open > 0) return { ...nothing, open }
  const settled = own.select('id').where('settledAt', 'is not', null).orderBy('createdAt').orderBy('id')
  const { rows } = await run(settled.limit(BATCH).$if(locksRows, (query) => query.forUpdate()))
  const ids = rows.map(({ id }) => id)
  if (ids.length === 0) {
    const usage = await run(db.deleteFrom('usage').where('owner', '=', owner))
    return { ...nothing, usage: Number(usage.numAffectedRows) }
  }
  const keys = await run(db.deleteFrom('idempotencyKey').where('taskId', 'in', ids))
  const deliveries = await run(db.deleteFrom('delivery').where('taskId', 'in', ids))
  const copies = await releaseCopies(sql, run, ids)
  const tasks = await run(db.deleteFrom('task').where(sql.isOneOf(ids)))
  return {
    ...nothing,
    tasks: Number(tasks.numAffectedRows),
    keys: Number(keys.numAffectedRows),
    deliveries: Number(deliveries.numAffectedRows),
    copies,
  }
}
