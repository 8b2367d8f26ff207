import {
  MAX_DELIVERIES,
  MAX_DELIVERY_COUNT,
  type Attempt,
  type Delivery,
  type DeliveryBacklog,
  type Outbox,
} from '../deliveries/outbox.ts'
import { CLOCK_TOLERANCE_MS } from '../tasks/store-port.ts'
import { isSettled, type UpscaleTask } from '../tasks/task.ts'
import { toDelivery, type DeliveryRow } from './schema.ts'
import { createScheduleCheck, type Run, type Sql } from './sql.ts'
import { createTemplate } from './template.ts'

/** The Outbox in SQL, in the same database as the tasks. */
export class SqlOutbox implements Outbox {
  readonly #sql: Sql
  readonly #isCheckDue = createScheduleCheck()

  constructor(sql: Sql) {
    this.#sql = sql
  }

  add(taskId: string, url: string, now: number): Promise<boolean> {
    const { db, locksRows } = this.#sql
    return this.#sql.transact(async (run) => {
      // The row lock keeps the task from settling meanwhile: a settlement makes due only the deliveries that
      // exist then.
      const { rows: tasks } = await run(
        db
          .selectFrom('task')
          .select(['version', 'owner', 'settledAt'])
          .where('id', '=', taskId)
          .$if(locksRows, (query) => query.forUpdate()),
      )
      const { rows: urls } = await run(db.selectFrom('delivery').select('url').where('taskId', '=', taskId))
      const [task] = tasks
      if (task === undefined || urls.some((each) => each.url === url)) return true
      if (urls.length >= MAX_DELIVERIES) return false
      const version = task.settledAt === null ? 0 : task.version
      const row = toNewDelivery({ id: taskId, owner: task.owner }, url, {
        position: urls.length,
        now,
        version,
      })
      await run(db.insertInto('delivery').values(row))
      return true
    })
  }

  async list(taskIds: readonly string[]): Promise<Delivery[]> {
    if (taskIds.length === 0) return []
    const { db, run } = this.#sql
    const query = db.selectFrom('delivery').selectAll().where('taskId', 'in', taskIds).orderBy('id')
    return (await run(query)).rows.map(toDelivery)
  }

  async claimDue(
    now: number,
    leaseUntil: number,
    limit: number,
    { hosts, owners }: { readonly hosts: readonly string[]; readonly owners: readonly string[] },
  ): Promise<Delivery[]> {
    const { db, run, locksRows } = this.#sql
    if (this.#isCheckDue(now)) await this.#reviseSchedule(now)
    const due = db
      .selectFrom('delivery')
      .select('id')
      .where('dueAt', '<=', now)
      .where((where) => where.or([where('leasedUntil', 'is', null), where('leasedUntil', '<=', now)]))
      .$if(hosts.length > 0, (query) => query.where('host', 'not in', hosts))
      .$if(owners.length > 0, (query) => query.where('owner', 'not in', owners))
      .orderBy('dueAt')
      .limit(limit)
      .$if(locksRows, (query) => query.forUpdate().skipLocked())
    const claim = db
      .with('due', () => due)
      .updateTable('delivery')
      .set({ leasedUntil: leaseUntil, scheduledAt: now })
      .where('id', 'in', (from) => from.selectFrom('due').select('due.id'))
      .returningAll()
    return (await run(claim)).rows.map(toDelivery)
  }

  /** Makes rows due now that were scheduled before the clock was set back, and ends their leases. */
  async #reviseSchedule(now: number): Promise<void> {
    const { db, run } = this.#sql
    await run(
      db
        .updateTable('delivery')
        .set((set) => ({
          dueAt: now,
          leasedUntil: null,
          scheduledAt: now,
          dueSince: set.case().when('dueSince', '>', now).then(now).else(set.ref('dueSince')).end(),
        }))
        .where('dueAt', 'is not', null)
        .where('scheduledAt', '>', now + CLOCK_TOLERANCE_MS),
    )
  }

  async finish(claimed: Delivery, attempt: Attempt): Promise<void> {
    const { db, run } = this.#sql
    const release = db
      .updateTable('delivery')
      .set({ leasedUntil: null })
      .where('id', '=', claimed.id)
      .where('leasedUntil', '=', claimed.leasedUntil)
    const { state, attempts, failures, lastStatusCode, dueAt } = attempt
    const { numAffectedRows } = await run(
      release
        .set({ state, attempts, failures, lastStatusCode, dueAt })
        .where('version', '=', claimed.version)
        .where('attempts', '=', claimed.attempts)
        .where('dueAt', '=', claimed.dueAt),
    )
    if (numAffectedRows === 0n) await run(release)
  }

  async redeliver(taskId: string, now: number): Promise<void> {
    const { db, run } = this.#sql
    await run(
      db
        .updateTable('delivery')
        .set({ ...NO_ATTEMPTS, dueSince: now, dueAt: now, scheduledAt: now })
        .where('taskId', '=', taskId)
        .where('version', '>', 0),
    )
  }

  async readBacklog(): Promise<DeliveryBacklog> {
    const { db, run } = this.#sql
    const open = db.selectFrom('delivery').select('dueAt').where('dueAt', 'is not', null).orderBy('dueAt')
    const counted = db
      .selectFrom(open.limit(MAX_DELIVERY_COUNT).as('open'))
      .select(({ fn }) => [fn.countAll().as('count'), fn.min('dueAt').as('oldestDueAt')])
    const [row] = (await run(counted)).rows
    return { count: Number(row?.count ?? 0), oldestDueAt: row?.oldestDueAt ?? null }
  }
}

export const NO_ATTEMPTS = { state: 'PENDING', attempts: 0, failures: 0, lastStatusCode: null } as const

/**
 * Makes the deliveries of a task due when it settles, with its latest version. Returns whether there are any.
 */
export async function makeDeliveriesDue(run: Run, task: UpscaleTask): Promise<boolean> {
  if (!isSettled(task)) return false
  const { id, version, updatedAt } = task
  const { numAffectedRows } = await run(makeDue({ id, version, updatedAt }))
  return numAffectedRows !== 0n
}

const makeDue = createTemplate(
  (db, { id, version, updatedAt: at }: Pick<UpscaleTask, 'id' | 'version' | 'updatedAt'>) =>
    db
      .updateTable('delivery')
      .set({ ...NO_ATTEMPTS, version, dueSince: at, dueAt: at, scheduledAt: at })
      .where('taskId', '=', id),
)

/**
 * A delivery without attempts. `version`: the settled version to deliver; 0 while the task has not settled.
 */
export function toNewDelivery(
  { id: taskId, owner }: Pick<UpscaleTask, 'id' | 'owner'>,
  url: string,
  { position, now, version }: { readonly position: number; readonly now: number; readonly version: number },
): DeliveryRow {
  const dueAt = version > 0 ? now : null
  return {
    id: `${taskId}-${position}`,
    taskId,
    owner,
    url,
    host: new URL(url).host,
    version,
    ...NO_ATTEMPTS,
    dueSince: dueAt,
    dueAt,
    leasedUntil: null,
    scheduledAt: now,
  }
}
