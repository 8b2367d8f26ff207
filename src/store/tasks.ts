import DataLoader from 'dataloader'
import {
  CLOCK_TOLERANCE_MS,
  UnconfirmedError,
  type IdempotencyKey,
  type InsertOptions,
  type Insertion,
  type Schedule,
  type TaskHints,
  type TaskListQuery,
  type TaskStore,
  type UpdateOutcome,
} from '../tasks/ports.ts'
import { isUncharged, type UpscaleTask } from '../tasks/task.ts'
import { queueDeliveries, toNewDelivery } from './outbox.ts'
import { toChanges, toRow, toTask } from './schema.ts'
import { createScheduleCheck, lockNames, type Run, type Sql } from './sql.ts'
import type { TaskCounts } from './task-counts.ts'
import { createWriteProbe } from './write-probe.ts'

/** How many ids one query reads. */
const MAX_READ = 100

type Inserted<Refusal> = Insertion | { readonly inserted: false; readonly refusal: Refusal }

/** The TaskStore in SQL. It announces what it has committed. */
export class SqlTaskStore implements TaskStore {
  readonly #sql: Sql
  readonly #hints: TaskHints
  readonly #isCheckDue = createScheduleCheck()
  readonly #reads: DataLoader<string, UpscaleTask | undefined>
  readonly #probe: () => Promise<void>
  readonly countByStatus: () => Promise<TaskCounts>

  constructor(sql: Sql, hints: TaskHints, countByStatus: () => Promise<TaskCounts>) {
    this.#sql = sql
    this.#hints = hints
    this.countByStatus = countByStatus
    this.#reads = this.#createReads()
    this.#probe = createWriteProbe(sql)
  }

  insert<Refusal = never>(task: UpscaleTask, options: InsertOptions<Refusal>): Promise<Inserted<Refusal>> {
    const { db } = this.#sql
    const { force = false, key = null, callBackUrl = null, admit, admitKey } = options
    let written = false
    const work = async (run: Run): Promise<Inserted<Refusal>> => {
      await lockNames(this.#sql, run, key ? [key.claim, task.pictureDigest] : [task.pictureDigest])
      const named = key && (await this.#findNamed(run, key.claim, task.createdAt))
      if (named) return { inserted: false, existing: named, by: 'key' }
      const existing = force ? undefined : await this.#findSamePicture(run, task)
      if (existing !== undefined) {
        const refusal = key && ((await admitKey?.()) ?? null)
        if (refusal !== null) return { inserted: false, refusal }
        if (key) await this.#name(run, key, existing.id)
        return { inserted: false, existing, by: 'picture' }
      }
      const refusal = (await admit?.()) ?? null
      if (refusal !== null) return { inserted: false, refusal }
      await run(db.insertInto('task').values(toRow(task)))
      if (key) await this.#name(run, key, task.id)
      const place = { position: 0, now: task.createdAt, version: 0 }
      if (callBackUrl !== null)
        await run(db.insertInto('delivery').values(toNewDelivery(task, callBackUrl, place)))
      written = true
      return { inserted: true }
    }
    return this.#sql.transact(work).catch((error: unknown) => {
      throw written ? new UnconfirmedError('The commit of a task was not confirmed', { cause: error }) : error
    })
  }

  async read(id: string): Promise<UpscaleTask | undefined> {
    return isStorable(id) ? this.#reads.load(id) : undefined
  }

  async readMany(ids: readonly string[]): Promise<UpscaleTask[]> {
    const storable = ids.filter(isStorable)
    if (storable.length === 0) return []
    const { db, run, isOneOf } = this.#sql
    return (await run(db.selectFrom('task').selectAll().where(isOneOf(storable)))).rows.map(toTask)
  }

  async update(previous: UpscaleTask, next: UpscaleTask): Promise<UpdateOutcome> {
    const { id, version, upstreamTaskId } = previous
    // Only the columns that differ: others may have been rescheduled since `previous` was read.
    const update = this.#sql.db
      .updateTable('task')
      .set(toChanges(previous, next))
      .where('id', '=', id)
      .where('version', '=', version)
      .where('upstreamTaskId', upstreamTaskId === null ? 'is' : '=', upstreamTaskId)
    const written = this.#sql.transact(async (run): Promise<UpdateOutcome> => {
      const { numAffectedRows } = await run(update)
      if (numAffectedRows === 0n) return 'conflict'
      const due = next.version > version && (await queueDeliveries(run, next))
      return due ? 'deliveriesDue' : 'updated'
    })
    const outcome = await written.catch((error: unknown) => {
      // A commit that was not confirmed may have happened.
      this.#hints.announce(id)
      throw error
    })
    if (outcome !== 'conflict') this.#hints.announce(id, next)
    return outcome
  }

  async list(query: TaskListQuery): Promise<UpscaleTask[]> {
    const { db, run } = this.#sql
    return (await run(toListQuery(db, query))).rows.map(toTask)
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
      .where('status', '!=', 'SUCCEEDED')
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
   * Makes rows due now that were scheduled before the clock was set back. Lowers their deadlines to `latestDeadline`.
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
        .where('version', '=', claimed.version)
        .where('dueAt', '=', claimed.dueAt),
    )
  }

  async pollSoon(id: string, dueAt: number): Promise<void> {
    const { db, run } = this.#sql
    const unsettled = db.updateTable('task').where('id', '=', id).where('settledAt', 'is', null)
    await run(unsettled.set({ dueAt }).where('dueAt', '>', dueAt))
  }

  async extendAnswer(id: string, answerBy: number): Promise<void> {
    const { db, run } = this.#sql
    await run(db.updateTable('task').set({ answerBy }).where('id', '=', id).where('answerBy', 'is not', null))
  }

  async removeSettled(before: number, limit: number): Promise<number> {
    const { db, run } = this.#sql
    const expired = db.selectFrom('task').select('id').where('settledAt', '<', before).limit(limit)
    const { numAffectedRows } = await run(db.deleteFrom('task').where('id', 'in', expired))
    return Number(numAffectedRows)
  }

  async removeExpiredKeys(now: number, limit: number): Promise<number> {
    const { db, run, locksRows } = this.#sql
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

  async check(): Promise<void> {
    const { db, run } = this.#sql
    await run(db.selectFrom('task').select('id').limit(1))
    await this.#probe()
  }

  /**
   * All ids that are requested within one turn of the event loop are read together, each once: thousands of watchers may wake
   * at once. A read never gets the result of a query that was sent before it. The batches of a turn run one after another, so
   * that they leave connections to others and few results are in memory at once.
   */
  #createReads(): DataLoader<string, UpscaleTask | undefined> {
    let previous: Promise<unknown> | undefined
    const batch = async (ids: readonly string[]) => {
      loader.clearAll()
      if (previous === undefined) setImmediate(() => (previous = undefined))
      const reading = Promise.resolve(previous).then(() => this.readMany(ids))
      // The next batch runs whether this one fails or not; the reads of this one get the error.
      previous = reading.catch(() => undefined)
      const found = new Map((await reading).map((task) => [task.id, task]))
      return ids.map((id) => found.get(id))
    }
    const loader = new DataLoader(batch, {
      maxBatchSize: MAX_READ,
      // After the pending promises, each of which may read.
      batchScheduleFn: (dispatch) => void setImmediate(dispatch),
    })
    return loader
  }

  /** The task that a key names; undefined when the key is free. */
  async #findNamed(run: Run, claim: string, now: number): Promise<UpscaleTask | undefined> {
    const { rows } = await run(
      this.#sql.db
        .selectFrom('idempotencyKey')
        .innerJoin('task', 'task.id', 'idempotencyKey.taskId')
        .selectAll('task')
        .where('claim', '=', claim)
        .where('until', '>', now),
    )
    const task = rows[0] && toTask(rows[0])
    return task && !isUncharged(task) ? task : undefined
  }

  /** Makes a free key name a task. */
  async #name(run: Run, { claim, until }: IdempotencyKey, taskId: string): Promise<void> {
    await run(
      this.#sql.db
        .insertInto('idempotencyKey')
        .values({ claim, taskId, until })
        .onConflict((conflict) => conflict.column('claim').doUpdateSet({ taskId, until })),
    )
  }

  /** The newest task for the same picture that is running, or done with images that have not expired. */
  async #findSamePicture(
    run: Run,
    { pictureDigest, createdAt }: UpscaleTask,
  ): Promise<UpscaleTask | undefined> {
    const { db } = this.#sql
    // Usually there is none, and SQLite answers that three times as fast for one column as for all.
    const found = await run(
      db
        .selectFrom('task')
        .select('id')
        .where('pictureDigest', '=', pictureDigest)
        .where((where) =>
          where.or([
            where('status', 'in', ['SUBMITTED', 'PROCESSING']),
            where.and([where('status', '=', 'SUCCEEDED'), where('imagesExpireAt', '>', createdAt)]),
          ]),
        )
        .orderBy('createdAt', 'desc')
        .limit(1),
    )
    const [id] = found.rows.map((each) => each.id)
    if (id === undefined) return undefined
    const [row] = (await run(db.selectFrom('task').selectAll().where('id', '=', id))).rows
    return row && toTask(row)
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

/** PostgreSQL refuses a NUL in a text; an unpaired surrogate would be stored, and compared, as U+FFFD. */
function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}
