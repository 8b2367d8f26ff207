import { releaseCopies } from './copies.ts'
import { isStorable, type Run, type Sql } from './sql.ts'

/** See TaskStore.removeSettled. */
export function removeSettled(sql: Sql, before: number, limit: number): Promise<number> {
  const { db, transact, locksRows } = sql
  return transact(async (run) => {
    const { rows } = await run(
      db
        .selectFrom('task')
        .select('id')
        .where('settledAt', '<', before)
        // In the order of the index: PostgreSQL could otherwise read the whole table.
        .orderBy('settledAt')
        .limit(limit)
        .$if(locksRows, (query) => query.forUpdate().skipLocked()),
    )
    await deleteTasks(sql, run, rows)
    return rows.length
  })
}

/** See TaskStore.remove. */
export function removeTask(sql: Sql, owner: string, id: string): Promise<boolean | undefined> {
  if (!isStorable(id)) return Promise.resolve(undefined)
  const { db, transact, locksRows } = sql
  return transact(async (run) => {
    const { rows } = await run(
      db
        .selectFrom('task')
        .select(['id', 'owner', 'settledAt'])
        .where('id', '=', id)
        .$if(locksRows, (query) => query.forUpdate()),
    )
    const [task] = rows
    if (task?.owner !== owner) return undefined
    if (task.settledAt === null) return false
    await deleteTasks(sql, run, [task])
    return true
  })
}

/** See TaskStore.removeExpiredKeys. */
export async function removeExpiredKeys(sql: Sql, now: number, limit: number): Promise<number> {
  const { db, run, locksRows } = sql
  const expired = db
    .selectFrom('idempotencyKey')
    .select('claim')
    .where('until', '<=', now)
    .orderBy('until')
    .limit(limit)
    .$if(locksRows, (query) => query.forUpdate().skipLocked())
  const { numAffectedRows } = await run(db.deleteFrom('idempotencyKey').where('claim', 'in', expired))
  return Number(numAffectedRows)
}

/** Deletes tasks; their keys, deliveries and uses of copies go with them. */
async function deleteTasks(sql: Sql, run: Run, tasks: readonly { readonly id: string }[]): Promise<void> {
  if (tasks.length === 0) return
  const ids = tasks.map(({ id }) => id)
  await releaseCopies(sql, run, ids)
  await run(sql.db.deleteFrom('task').where(sql.isOneOf(ids)))
}
