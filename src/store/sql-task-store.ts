import type {
  IdempotencyKey,
  InsertOptions,
  Insertion,
  TaskHints,
  TaskListQuery,
  TaskStore,
  UpdateOutcome,
} from '../tasks/ports.ts'
import { isUncharged, type TaskStatus, type UpscaleTask } from '../tasks/task.ts'
import type { Locking } from './locking.ts'
import { shareReads } from './shared-reads.ts'
import { CompiledQueries, type Run, type Sql } from './sql.ts'
import { insertDelivery, queueDeliveries } from './sql-outbox.ts'
import { toChanges, toRow, toTask } from './task-row.ts'
import { createWriteProbe } from './write-probe.ts'

/** The TaskStore in SQL. Announces what it has committed; the dialect is the caller's choice. */
export class SqlTaskStore implements TaskStore {
  readonly #sql: Sql
  readonly #hints: TaskHints
  readonly #locking: Locking
  readonly #queries = new CompiledQueries()
  readonly #read: (id: string) => Promise<UpscaleTask | undefined>
  readonly #probe: () => Promise<void>

  constructor(sql: Sql, hints: TaskHints, locking: Locking) {
    this.#sql = sql
    this.#hints = hints
    this.#locking = locking
    this.#read = shareReads((ids) => this.readMany(ids))
    this.#probe = createWriteProbe(sql)
  }

  insert<Refusal = never>(
    task: UpscaleTask,
    { force = false, key = null, callBackUrl = null, admit }: InsertOptions<Refusal>,
  ): Promise<Insertion | { inserted: false; refusal: Refusal }> {
    const { db } = this.#sql
    return this.#sql.transact(async (run) => {
      await this.#locking.lock(run, this.#sql, key ? [key.claim, task.pictureDigest] : [task.pictureDigest])
      const named = key && (await this.#findNamed(run, key.claim, task.createdAt))
      if (named) return { inserted: false, existing: named, by: 'key' }
      const holder = force ? undefined : await this.#findHolder(run, task)
      if (holder !== undefined) {
        if (key) await this.#name(run, key, holder.id)
        return { inserted: false, existing: holder, by: 'picture' }
      }
      const refusal = (await admit?.()) ?? null
      if (refusal !== null) return { inserted: false, refusal }
      const row = toRow(task)
      await this.#queries.run(run, 'insert', Object.values(row), () => db.insertInto('task').values(row))
      if (key) await this.#name(run, key, task.id)
      if (callBackUrl !== null) await insertDelivery(run, db, task, callBackUrl, 0, null)
      return { inserted: true }
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
      if (numAffectedRows === 0n) return 'beaten'
      const owed = next.version > version && (await queueDeliveries(run, db, next, this.#queries))
      return owed ? 'owed' : 'written'
    })
    // Where the commit was not answered, it may have been made all the same.
    const outcome = await written.catch((error: unknown) => {
      this.#hints.announce(next.id)
      throw error
    })
    if (outcome !== 'beaten') this.#hints.announce(next.id, next)
    return outcome
  }

  async list({ owner, status, after, limit }: TaskListQuery): Promise<UpscaleTask[]> {
    let query = this.#sql.db.selectFrom('task').selectAll().where('owner', '=', owner)
    if (status !== null) query = query.where('status', '=', status)
    if (after !== null)
      query = query.where((where) =>
        where(where.refTuple('created_at', 'id'), '<', where.tuple(after.createdAt, after.id)),
      )
    const rows = await query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit).execute()
    return rows.map(toTask)
  }

  async claimDue(now: number, leaseUntil: number, limit: number): Promise<UpscaleTask[]> {
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
      .set({ due_at: leaseUntil })
      .whereRef('id', '=', 'due_id')
      .returningAll()
      .execute()
    return rows.map(toTask)
  }

  async reschedule(claimed: UpscaleTask, dueAt: number | null): Promise<void> {
    await this.#sql.db
      .updateTable('task')
      .set({ due_at: dueAt, polls: claimed.polls + 1 })
      .where('id', '=', claimed.id)
      .where('version', '=', claimed.version)
      .where('due_at', '=', claimed.dueAt)
      .execute()
  }

  async hurry(id: string): Promise<void> {
    await this.#sql.db
      .updateTable('task')
      .set({ due_at: 0 })
      .where('id', '=', id)
      .where('status', '!=', 'SUCCEEDED')
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

  async countByStatus(): Promise<Partial<Record<TaskStatus, number>>> {
    const rows = await this.#sql.db
      .selectFrom('task')
      .select(({ fn }) => ['status', fn.countAll().as('count')])
      .groupBy('status')
      .execute()
    return Object.fromEntries(rows.map(({ status, count }) => [status, Number(count)]))
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

/** PostgreSQL knows no NUL in a text, and makes an error of a question with one. */
function isStorable(text: string): boolean {
  return !text.includes('\0')
}
