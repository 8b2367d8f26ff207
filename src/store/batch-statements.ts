import { sql } from 'kysely'
import type { UpscaleTask } from '../tasks/task.ts'
import { NO_ATTEMPTS } from './outbox.ts'
import type { Run } from './sql.ts'

/** An update that shares a statement with others. */
export interface BatchUpdate {
  readonly previous: UpscaleTask
  readonly next: UpscaleTask
  readonly changes: Readonly<Record<string, unknown>>
}

/**
 * Updates tasks that have the revision of `previous`. Skips those that another transaction has locked: no two
 * batches wait for each other's tasks, and a transaction that holds the lock of a task delays no other task.
 */
export function toBatchStatement(updates: readonly BatchUpdate[]) {
  const ids = updates.map(({ next }) => next.id)
  const rows = updates.map(({ next: { id }, changes }) => ({ id, ...changes }))
  const revisions = updates.map(({ previous }) => previous.revision)
  const columns = Object.keys(updates[0]?.changes ?? {})
  const changes = columns.map((column) => sql`${sql.ref(column)} = next.${sql.ref(column)}`)
  // `any` appears twice: the number of ids makes the planner use the index even for a small table.
  return sql<{ id: string }>`
    with locked as (
      select id from task where id = any(${ids}) for no key update skip locked
    )
    update task set ${sql.join(changes)}
    from rows from (
      json_populate_recordset(null::task, ${JSON.stringify(rows)}), unnest(${revisions}::integer[])
    ) as next
    where task.id = any(${ids}) and task.id in (select id from locked)
      and task.id = next.id and task.revision = next.unnest
    returning task.id`
}

/**
 * Makes the deliveries of settled tasks due, and returns the ids of tasks that have deliveries. A separate
 * statement, because the update's snapshot misses a delivery that is added while it runs.
 */
export async function makeDeliveriesDueOf(
  run: Run,
  tasks: readonly UpscaleTask[],
): Promise<ReadonlySet<string>> {
  if (tasks.length === 0) return new Set()
  const [ids, versions, times] = [
    tasks.map(({ id }) => id),
    tasks.map(({ version }) => version),
    tasks.map(({ updatedAt }) => updatedAt),
  ]
  const reset = Object.entries(NO_ATTEMPTS).map(
    ([column, value]) => sql`${sql.ref(column)} = ${sql.lit(value)}`,
  )
  const { rows } = await run(sql<{ id: string }>`
    update delivery set version = next.version, ${sql.join(reset)}, "dueSince" = next.at, "dueAt" = next.at, "scheduledAt" = next.at
    from unnest(${ids}::text[], ${versions}::integer[], ${times}::bigint[]) as next (id, version, at)
    where "taskId" = next.id
    returning next.id`)
  return new Set(rows.map(({ id }) => id))
}
