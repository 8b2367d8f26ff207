import type { Kysely } from 'kysely'
import { MAX_DELIVERIES, type Attempt, type Delivery, type Outbox } from '../deliveries/outbox.ts'
import { isSettled, type UpscaleTask } from '../tasks/task.ts'
import { CLOCK_TOLERANCE_MS } from '../tasks/ports.ts'
import type { Locking } from './locking.ts'
import { createScheduleCheck } from './schedule-check.ts'
import type { Database, DeliveryRow } from './schema.ts'
import type { CompiledQueries, Run, Sql } from './sql.ts'

/** A delivery without attempts. */
const ANEW = { state: 'PENDING', attempts: 0, failures: 0, last_status_code: null } as const

/** The Outbox in SQL, in the same database as the tasks. */
export class SqlOutbox implements Outbox {
  readonly #sql: Sql
  readonly #locking: Locking
  readonly #isCheckDue = createScheduleCheck()

  constructor(sql: Sql, locking: Locking) {
    this.#sql = sql
    this.#locking = locking
  }

  add(taskId: string, url: string, now: number): Promise<boolean> {
    const { db } = this.#sql
    return this.#sql.transact(async (run) => {
      // The row lock keeps the task from settling meanwhile: a settlement makes due only what the outbox holds then.
      const ofTask = db
        .selectFrom('task')
        .select(['version', 'owner', 'settled_at'])
        .where('id', '=', taskId)
        .$if(this.#locking.rows, (query) => query.forUpdate())
      const [task] = (await run(ofTask.compile())).rows
      const ofUrls = db.selectFrom('delivery').select('url').where('task_id', '=', taskId)
      const { rows: urls } = await run(ofUrls.compile())
      if (task === undefined || urls.some((each) => each.url === url)) return true
      if (urls.length >= MAX_DELIVERIES) return false
      const { owner } = task
      const settled = task.settled_at !== null
      await insertDelivery(run, db, { id: taskId, owner }, url, urls.length, now, settled ? task.version : 0)
      return true
    })
  }

  async list(taskIds: readonly string[]): Promise<Delivery[]> {
    if (taskIds.length === 0) return []
    const query = this.#sql.db.selectFrom('delivery').selectAll().where('task_id', 'in', taskIds)
    return (await query.orderBy('id').execute()).map(toDelivery)
  }

  async claimDue(
    now: number,
    leaseUntil: number,
    limit: number,
    { hosts, owners }: { readonly hosts: readonly string[]; readonly owners: readonly string[] },
  ): Promise<Delivery[]> {
    if (this.#isCheckDue(now)) await this.#reviseSchedule(now)
    const rows = await this.#sql.db
      .with('due', (db) =>
        db
          .selectFrom('delivery')
          .select('id as due_id')
          .where('due_at', '<=', now)
          .where((where) => where.or([where('leased_until', 'is', null), where('leased_until', '<=', now)]))
          .$if(hosts.length > 0, (query) => query.where('host', 'not in', hosts))
          .$if(owners.length > 0, (query) => query.where('owner', 'not in', owners))
          .orderBy('due_at')
          .limit(limit)
          .$if(this.#locking.rows, (query) => query.forUpdate().skipLocked()),
      )
      .updateTable('delivery')
      .from('due')
      .set({ leased_until: leaseUntil, scheduled_at: now })
      .whereRef('id', '=', 'due_id')
      .returningAll()
      .execute()
    return rows.map(toDelivery)
  }

  /** Makes what was scheduled before the clock was set back due now, and ends its leases. */
  async #reviseSchedule(now: number): Promise<void> {
    await this.#sql.db
      .updateTable('delivery')
      .set((set) => ({
        due_at: now,
        leased_until: null,
        scheduled_at: now,
        owed_since: set.case().when('owed_since', '>', now).then(now).else(set.ref('owed_since')).end(),
      }))
      .where('due_at', 'is not', null)
      .where('scheduled_at', '>', now + CLOCK_TOLERANCE_MS)
      .execute()
  }

  async finish(
    claimed: Delivery,
    { state, attempts, failures, lastStatusCode, dueAt }: Attempt,
  ): Promise<void> {
    const update = this.#sql.db
      .updateTable('delivery')
      .set({ leased_until: null })
      .where('id', '=', claimed.id)
      .where('leased_until', '=', claimed.leasedUntil)
    const { numUpdatedRows } = await update
      .set({ state, attempts, failures, last_status_code: lastStatusCode, due_at: dueAt })
      .where('version', '=', claimed.version)
      .where('attempts', '=', claimed.attempts)
      .where('due_at', '=', claimed.dueAt)
      .executeTakeFirstOrThrow()
    if (numUpdatedRows === 0n) await update.execute()
  }

  async redeliver(taskId: string, now: number): Promise<void> {
    await this.#sql.db
      .updateTable('delivery')
      .set({ ...ANEW, owed_since: now, due_at: now, scheduled_at: now })
      .where('task_id', '=', taskId)
      .where('version', '>', 0)
      .execute()
  }
}

/** Makes everything in a task's outbox due when it settles: told is its latest state, and only that. Whether there is anything. */
export async function queueDeliveries(
  run: Run,
  db: Kysely<Database>,
  task: UpscaleTask,
  queries: CompiledQueries,
): Promise<boolean> {
  if (!isSettled(task)) return false
  const { id, version, updatedAt } = task
  const values = [version, ...Object.values(ANEW), updatedAt, updatedAt, updatedAt, id]
  const { numAffectedRows } = await queries.run(run, 'queue', values, () =>
    db
      .updateTable('delivery')
      .set({
        version,
        ...ANEW,
        owed_since: updatedAt,
        due_at: updatedAt,
        scheduled_at: updatedAt,
      })
      .where('task_id', '=', id),
  )
  return numAffectedRows !== 0n
}

/** Adds a URL to a task's outbox; `version` is the settled version to deliver, 0 while there is none. */
export async function insertDelivery(
  run: Run,
  db: Kysely<Database>,
  { id: taskId, owner }: Pick<UpscaleTask, 'id' | 'owner'>,
  url: string,
  position: number,
  now: number,
  version: number,
): Promise<void> {
  const row: DeliveryRow = {
    id: `${taskId}-${position}`,
    task_id: taskId,
    owner,
    url,
    host: new URL(url).host,
    version,
    ...ANEW,
    owed_since: version > 0 ? now : null,
    due_at: version > 0 ? now : null,
    leased_until: null,
    scheduled_at: now,
  }
  await run(db.insertInto('delivery').values(row).compile())
}

function toDelivery(row: DeliveryRow): Delivery {
  return {
    id: row.id,
    taskId: row.task_id,
    owner: row.owner,
    url: row.url,
    version: row.version,
    state: row.state,
    attempts: row.attempts,
    failures: row.failures,
    dueSince: row.owed_since,
    lastStatusCode: row.last_status_code,
    dueAt: row.due_at,
    leasedUntil: row.leased_until,
  }
}
