import type { ChangeQuery, TaskChange } from '../tasks/watch/task-change.ts'
import type { TaskHints } from '../tasks/ports.ts'
import {
  CLOCK_TOLERANCE_MS,
  UnconfirmedError,
  type Schedule,
  type TaskListQuery,
  type TaskStore,
  type UpdateOutcome,
} from '../tasks/store-port.ts'
import { toOwnerTopic } from '../tasks/watch/owner-topic.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import { createBatchRead } from './batch-reads.ts'
import { insertTask } from './insert-task.ts'
import { readOverdue } from './overdue.ts'
import { removeExpiredKeys, removeSettled, removeTask } from './remove-tasks.ts'
import { toTask } from './schema.ts'
import { createScheduleCheck, isStorable, type Sql } from './sql.ts'
import { toChangesQuery } from './task-changes.ts'
import type { TaskCounts } from './task-counts.ts'
import { createUpdate, type WriteUpdate } from './update-task.ts'
import { readUsage } from './usage.ts'
import { createWriteProbe } from './write-probe.ts'

/** The TaskStore in SQL. It announces what it has committed. */
export class SqlTaskStore implements TaskStore {
  readonly #sql: Sql
  readonly #hints: TaskHints
  readonly #isCheckDue = createScheduleCheck()
  readonly #read: (id: string) => Promise<UpscaleTask | undefined>
  readonly #probe: () => Promise<void>
  readonly #write: WriteUpdate
  readonly countByStatus: () => Promise<TaskCounts>

  constructor(
    sql: Sql,
    hints: TaskHints,
    countByStatus: () => Promise<TaskCounts>,
    write: WriteUpdate = createUpdate(sql),
  ) {
    this.#sql = sql
    this.#write = write
    this.#hints = hints
    this.countByStatus = countByStatus
    this.#read = createBatchRead((ids) => this.readMany(ids))
    this.#probe = createWriteProbe(sql)
  }

  insert: TaskStore['insert'] = async (task, options) => {
    const topic = toOwnerTopic(task.owner)
    const insertion = await insertTask(this.#sql, task, options).catch((error: unknown) => {
      if (error instanceof UnconfirmedError) this.#hints.announce(topic)
      throw error
    })
    if (insertion.inserted) this.#hints.announce(topic, task)
    return insertion
  }

  async read(id: string): Promise<UpscaleTask | undefined> {
    return isStorable(id) ? this.#read(id) : undefined
  }

  async readMany(ids: readonly string[]): Promise<UpscaleTask[]> {
    const storable = ids.filter(isStorable)
    if (storable.length === 0) return []
    const { db, run, isOneOf } = this.#sql
    return (await run(db.selectFrom('task').selectAll().where(isOneOf(storable)))).rows.map(toTask)
  }

  async update(previous: UpscaleTask, next: UpscaleTask): Promise<UpdateOutcome> {
    const { id, owner, version } = previous
    const outcome = await this.#write(previous, next).catch((error: unknown) => {
      // A commit that was not confirmed may have happened.
      for (const topic of [id, toOwnerTopic(owner)]) this.#hints.announce(topic)
      throw error
    })
    if (outcome !== 'conflict') this.#hints.announce(id, next)
    if (outcome !== 'conflict' && next.version > version) this.#hints.announce(toOwnerTopic(owner), next)
    return outcome
  }

  async list(query: TaskListQuery): Promise<UpscaleTask[]> {
    const { db, run } = this.#sql
    return (await run(toListQuery(db, query))).rows.map(toTask)
  }

  async listOpenEngines(): Promise<string[]> {
    const { db, run } = this.#sql
    // Only such tasks have a due time, and it has an index.
    const open = db.selectFrom('task').select('engine').distinct().where('dueAt', 'is not', null)
    return (await run(open)).rows.map(({ engine }) => engine)
  }

  readOverdue: TaskStore['readOverdue'] = (now) => readOverdue(this.#sql, now)

  readUsage: TaskStore['readUsage'] = (fromDay, owner) => readUsage(this.#sql, fromDay, owner)

  async listChanges(query: ChangeQuery): Promise<TaskChange[]> {
    const { db, run } = this.#sql
    return (await run(toChangesQuery(db, query))).rows
  }

  async claimDue(
    now: number,
    leaseUntil: number,
    limit: number,
    latestDeadline = Number.MAX_SAFE_INTEGER,
  ): Promise<UpscaleTask[]> {
    const { db, run, locksRows } = this.#sql
    if (this.#isCheckDue(now)) await this.#reviseSchedule(now, latestDeadline)
    const due = db
      .selectFrom('task')
      .select('id')
      .where('dueAt', '<=', now)
      .where('images', 'is', null)
      .orderBy('dueAt')
      .limit(limit)
      .$if(locksRows, (query) => query.forUpdate().skipLocked())
    const claim = db
      .with('due', () => due)
      .updateTable('task')
      .set({ dueAt: leaseUntil, scheduledAt: now })
      .where('id', 'in', (from) => from.selectFrom('due').select('due.id'))
      .returningAll()
    return (await run(claim)).rows.map(toTask)
  }

  /**
   * Makes rows due now that were scheduled before the clock was set back. Lowers their deadlines to
   * `latestDeadline`.
   */
  async #reviseSchedule(now: number, latestDeadline: number): Promise<void> {
    const { db, run } = this.#sql
    await run(
      db
        .updateTable('task')
        .set((set) => ({
          dueAt: now,
          scheduledAt: now,
          deadlineAt: set
            .case()
            .when('deadlineAt', '>', latestDeadline)
            .then(latestDeadline)
            .else(set.ref('deadlineAt'))
            .end(),
        }))
        .where('dueAt', '>', now)
        .where('scheduledAt', '>', now + CLOCK_TOLERANCE_MS),
    )
  }

  async reschedule(claimed: UpscaleTask, { dueAt, notFoundCount, notFoundSince }: Schedule): Promise<void> {
    const { db, run } = this.#sql
    await run(
      db
        .updateTable('task')
        .set({ dueAt, polls: claimed.polls + 1, notFoundCount, notFoundSince })
        .where('id', '=', claimed.id)
        .where('revision', '=', claimed.revision)
        .where('dueAt', '=', claimed.dueAt),
    )
  }

  async pollSoon(id: string, dueAt: number): Promise<void> {
    const { db, run } = this.#sql
    const open = db.updateTable('task').where('id', '=', id).where('settledAt', 'is', null)
    await run(open.where('images', 'is', null).set({ dueAt }).where('dueAt', '>', dueAt))
  }

  async extendAnswer(id: string, answerBy: number): Promise<void> {
    const { db, run } = this.#sql
    await run(db.updateTable('task').set({ answerBy }).where('id', '=', id).where('answerBy', 'is not', null))
  }

  removeSettled: TaskStore['removeSettled'] = (before, limit) => removeSettled(this.#sql, before, limit)
  remove: TaskStore['remove'] = (owner, id) => removeTask(this.#sql, owner, id)
  removeExpiredKeys: TaskStore['removeExpiredKeys'] = (now, limit) => removeExpiredKeys(this.#sql, now, limit)

  async check(): Promise<void> {
    const { db, run } = this.#sql
    await run(db.selectFrom('task').select('id').limit(1))
    await this.#probe()
  }
}

/** A page of an owner's tasks. An index has the rows in this order, with and without a status. */
export function toListQuery(db: Sql['db'], { owner, status, after, limit }: TaskListQuery) {
  let query = db.selectFrom('task').selectAll().where('owner', '=', owner)
  if (status !== null) query = query.where('status', '=', status)
  if (after !== null)
    query = query.where((where) =>
      where(where.refTuple('createdAt', 'id'), '<', where.tuple(after.createdAt, after.id)),
    )
  return query.orderBy('createdAt', 'desc').orderBy('id', 'desc').limit(limit)
}
