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
import { toListQuery } from './list-query.ts'
import type { Locking } from './locking.ts'
import { createScheduleCheck } from './schedule-check.ts'
import { shareReads } from './shared-reads.ts'
import { CompiledQueries, type Run, type Sql } from './sql.ts'
import { insertDelivery, queueDeliveries } from './outbox.ts'
import type { TaskCounts } from './task-counts.ts'
import { toChanges, toRow, toTask } from './task-row.ts'
import { createWriteProbe } from './write-probe.ts'

type Inserted<Refusal> = Insertion | { readonly inserted: false; readonly refusal: Refusal }

/** The TaskStore in SQL. Announces what it has committed; the dialect is the caller's choice. */
export class SqlTaskStore implements TaskStore {
  readonly #sql: Sql
  readonly #hints: TaskHints
  readonly #locking: Locking
  readonly #queries = new CompiledQueries()
  readonly #isCheckDue = createScheduleCheck()
  readonly #read: (id: string) => Promise<UpscaleTask | undefined>
  readonly countByStatus: () => Promise<TaskCounts>
  readonly #probe: () => Promise<void>

  constructor(sql: Sql, hints: TaskHints, locking: Locking, countByStatus: () => Promise<TaskCounts>) {
    this.#sql = sql
    this.#hints = hints
    this.#locking = locking
    this.countByStatus = countByStatus
    this.#read = shareReads((ids) => this.readMany(ids))
    this.#probe = createWriteProbe(sql)
  }

  insert<Refusal = never>(
    task: UpscaleTask,
    { force = false, key = null, callBackUrl = null, admit, admitKey }: InsertOptions<Refusal>,
  ): Promise<Inserted<Refusal>> {
    const { db } = this.#sql
    let written = false
    const work = async (run: Run): Promise<Inserted<Refusal>> => {
      await this.#locking.lock(run, this.#sql, key ? [key.claim, task.pictureDigest] : [task.pictureDigest])
      const named = key && (await this.#findNamed(run, key.claim, task.createdAt))
      if (named) return { inserted: false, existing: named, by: 'key' }
      const holder = force ? undefined : await this.#findHolder(run, task)
      if (holder !== undefined) {
        if (key) {
          const refusal = (await admitKey?.()) ?? null
          if (refusal !== null) return { inserted: false, refusal }
          await this.#name(run, key, holder.id)
        }
        return { inserted: false, existing: holder, by: 'picture' }
      }
      const refusal = (await admit?.()) ?? null
      if (refusal !== null) return { inserted: false, refusal }
      const row = toRow(task)
      await this.#queries.run(run, 'insert', Object.values(row), () => db.insertInto('task').values(row))
      if (key) await this.#name(run, key, task.id)
      if (callBackUrl !== null) await insertDelivery(run, db, task, callBackUrl, 0, task.createdAt, 0)
      written = true
      return { inserted: true }
    }
    return this.#sql.transact(work).catch((error: unknown) => {
      throw written ? new UnconfirmedError('The commit of a task was not confirmed', { cause: error }) : error
    })
  }

  read(id: string): Promise<UpscaleTask | undefined> {
    return isStorable(id) ? this.#read(id) : Promise.resolve(undefined)
  }

  async readMany(ids: readonly string[]): Promise<UpscaleTask[]> {
    const storable = ids.filter(isStorable)
    if (storable.length === 0) return []
    const { db, lists, run } = this.#sql
    const { rows } = await this.#queries.run(run, 'read', [lists.toValue(storable)], () =>
      db.selectFrom('task').selectAll().where(lists.haveId(storable)),
    )
    return rows.map(toTask)
  }

  async update(previous: UpscaleTask, next: UpscaleTask): Promise<UpdateOutcome> {
    // Only what differs: a callback may have hurried it since `previous` was read.
    const [columns, changed] = toChanges(previous, next)
    const { id, version, upstreamTaskId } = previous
    const named = upstreamTaskId !== null
    const shape = `update ${named} ${columns.join()}`
    const values = [...changed, id, version, ...(named ? [upstreamTaskId] : [])]
    const { db } = this.#sql
    const written = this.#sql.transact(async (run): Promise<UpdateOutcome> => {
      const { numAffectedRows } = await this.#queries.run(run, shape, values, () =>
        db
          .updateTable('task')
          .set(Object.fromEntries(columns.map((column, n) => [column, changed[n]])))
          .where('id', '=', id)
          .where('version', '=', version)
          .where('upstream_task_id', named ? '=' : 'is', upstreamTaskId),
      )
      if (numAffectedRows === 0n) return 'conflict'
      const due = next.version > version && (await queueDeliveries(run, db, next, this.#queries))
      return due ? 'deliveriesDue' : 'updated'
    })
    // Where the commit was not answered, it may have been made all the same.
    const outcome = await written.catch((error: unknown) => {
      this.#hints.announce(next.id)
      throw error
    })
    if (outcome !== 'conflict') this.#hints.announce(next.id, next)
    return outcome
  }

  async list(query: TaskListQuery): Promise<UpscaleTask[]> {
    return (await toListQuery(this.#sql.db, query).execute()).map(toTask)
  }

  async claimDue(
    now: number,
    leaseUntil: number,
    limit: number,
    latestDeadline = Infinity,
  ): Promise<UpscaleTask[]> {
    if (this.#isCheckDue(now)) await this.#reviseSchedule(now, latestDeadline)
    const rows = await this.#sql.db
      .with('due', (db) =>
        db
          .selectFrom('task')
          .select('id as due_id')
          .where('due_at', '<=', now)
          .where('status', '!=', 'SUCCEEDED')
          .orderBy('due_at')
          .limit(limit)
          .$if(this.#locking.rows, (query) => query.forUpdate().skipLocked()),
      )
      .updateTable('task')
      .from('due')
      .set({ due_at: leaseUntil, scheduled_at: now })
      .whereRef('id', '=', 'due_id')
      .returningAll()
      .execute()
    return rows.map(toTask)
  }

  /** Makes what was scheduled before the clock was set back due now, with a deadline that this clock could have given it. */
  async #reviseSchedule(now: number, latestDeadline: number): Promise<void> {
    await this.#sql.db
      .updateTable('task')
      .set((set) => ({
        due_at: now,
        scheduled_at: now,
        ...(latestDeadline !== Infinity && {
          deadline_at: set
            .case()
            .when('deadline_at', '>', latestDeadline)
            .then(latestDeadline)
            .else(set.ref('deadline_at'))
            .end(),
        }),
      }))
      .where('due_at', '>', now)
      .where('scheduled_at', '>', now + CLOCK_TOLERANCE_MS)
      .execute()
  }

  async reschedule(claimed: UpscaleTask, { dueAt, notFoundCount, notFoundSince }: Schedule): Promise<void> {
    await this.#sql.db
      .updateTable('task')
      .set({ due_at: dueAt, polls: claimed.polls + 1, absences: notFoundCount, absent_since: notFoundSince })
      .where('id', '=', claimed.id)
      .where('version', '=', claimed.version)
      .where('due_at', '=', claimed.dueAt)
      .execute()
  }

  async pollSoon(id: string, dueAt: number): Promise<void> {
    await this.#sql.db
      .updateTable('task')
      .set({ due_at: dueAt })
      .where('id', '=', id)
      .where('due_at', '>', dueAt)
      .where('settled_at', 'is', null)
      .execute()
  }

  async extendAnswer(id: string, answerBy: number): Promise<void> {
    await this.#sql.db
      .updateTable('task')
      .set({ answer_by: answerBy })
      .where('id', '=', id)
      .where('answer_by', 'is not', null)
      .execute()
  }

  async removeSettled(before: number, limit: number): Promise<number> {
    const { numDeletedRows } = await this.#sql.db
      .deleteFrom('task')
      .where('id', 'in', (from) =>
        from.selectFrom('task').select('id').where('settled_at', '<', before).limit(limit),
      )
      .executeTakeFirstOrThrow()
    return Number(numDeletedRows)
  }

  async removeExpiredKeys(now: number, limit: number): Promise<number> {
    const { numDeletedRows } = await this.#sql.db
      .deleteFrom('idempotency_key')
      .where('claim', 'in', (from) =>
        from
          .selectFrom('idempotency_key')
          .select('claim')
          .where('until', '<=', now)
          .orderBy('until')
          .limit(limit)
          .$if(this.#locking.rows, (query) => query.forUpdate().skipLocked()),
      )
      .executeTakeFirstOrThrow()
    return Number(numDeletedRows)
  }

  async check(): Promise<void> {
    await this.#sql.db.selectFrom('task').select('id').limit(1).execute()
    await this.#probe()
  }

  /** The task that a key names; undefined when the key is free. */
  async #findNamed(run: Run, claim: string, now: number): Promise<UpscaleTask | undefined> {
    const query = this.#sql.db
      .selectFrom('idempotency_key')
      .innerJoin('task', 'task.id', 'idempotency_key.task_id')
      .selectAll('task')
      .where('claim', '=', claim)
      .where('until', '>', now)
    const [row] = (await run(query.compile())).rows
    const task = row && toTask(row)
    return task && !isUncharged(task) ? task : undefined
  }

  /** Lets a free key name a task. */
  async #name(run: Run, { claim, until }: IdempotencyKey, id: string): Promise<void> {
    const names = { task_id: id, until }
    const query = this.#sql.db
      .insertInto('idempotency_key')
      .values({ claim, ...names })
      .onConflict((conflict) => conflict.column('claim').doUpdateSet(names))
    await run(query.compile())
  }

  /** The newest task for the same picture that is running, or done with images that have not expired. */
  async #findHolder(run: Run, { pictureDigest, createdAt }: UpscaleTask): Promise<UpscaleTask | undefined> {
    const values = [pictureDigest, 'SUBMITTED', 'PROCESSING', 'SUCCEEDED', createdAt, 1]
    const { db } = this.#sql
    // Mostly there is none, and to say so of many columns takes SQLite three times as long as of one.
    const { rows } = await this.#queries.run(run, 'holder', values, () =>
      db
        .selectFrom('task')
        .select('id')
        .where('picture_digest', '=', pictureDigest)
        .where((where) =>
          where.or([
            where('status', 'in', ['SUBMITTED', 'PROCESSING']),
            where.and([where('status', '=', 'SUCCEEDED'), where('images_expire_at', '>', createdAt)]),
          ]),
        )
        .orderBy('created_at', 'desc')
        .limit(1),
    )
    const [found] = rows
    if (found === undefined) return undefined
    const [row] = (await run(db.selectFrom('task').selectAll().where('id', '=', found.id).compile())).rows
    return row && toTask(row)
  }
}

/** PostgreSQL refuses a NUL in a text; an unpaired surrogate would be stored, and compared, as U+FFFD. */
function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}
