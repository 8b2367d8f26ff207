import type { Kysely, Transaction } from 'kysely'
import type {
  IdempotencyKey,
  InsertOptions,
  Insertion,
  TaskHints,
  TaskListQuery,
  TaskStore,
} from '../tasks/ports.ts'
import { isUncharged, type TaskStatus, type UpscaleTask } from '../tasks/task.ts'
import { CompiledQueries } from './compiled-queries.ts'
import type { Locking } from './locking.ts'
import type { Database, TaskRow } from './schema.ts'
import { shareReads } from './shared-reads.ts'
import { insertDelivery, queueDeliveries } from './sql-outbox.ts'
import { toRow, toTask } from './task-row.ts'

/** The TaskStore in SQL. Announces what it has committed; the dialect is the caller's choice. */
export class SqlTaskStore implements TaskStore {
  readonly #db: Kysely<Database>
  readonly #hints: TaskHints
  readonly #locking: Locking
  readonly #queries = new CompiledQueries()
  readonly #read: (id: string) => Promise<UpscaleTask | undefined>

  constructor(db: Kysely<Database>, hints: TaskHints, locking: Locking) {
    this.#db = db
    this.#hints = hints
    this.#locking = locking
    this.#read = shareReads((ids) => this.readMany(ids))
  }

  insert<Refusal = never>(
    task: UpscaleTask,
    { force = false, key = null, callBackUrl = null, admit }: InsertOptions<Refusal>,
  ): Promise<Insertion | { inserted: false; refusal: Refusal }> {
    return this.#db.transaction().execute(async (trx) => {
      await this.#locking.lock(trx, key ? [key.claim, task.pictureDigest] : [task.pictureDigest])
      const named = key && (await findNamed(trx, key.claim, task.createdAt))
      if (named) return { inserted: false, existing: named, by: 'key' }
      const holder = force ? undefined : await findHolder(trx, task, this.#queries)
      if (holder !== undefined) {
        if (key) await name(trx, key, holder.id)
        return { inserted: false, existing: holder, by: 'picture' }
      }
      const refusal = (await admit?.()) ?? null
      if (refusal !== null) return { inserted: false, refusal }
      const row = toRow(task)
      await this.#queries.run(trx, 'insert', Object.values(row), () => trx.insertInto('task').values(row))
      if (key) await name(trx, key, task.id)
      if (callBackUrl !== null) await insertDelivery(trx, task, callBackUrl, 0, null)
      return { inserted: true }
    })
  }

  read(id: string): Promise<UpscaleTask | undefined> {
    return isStorable(id) ? this.#read(id) : Promise.resolve(undefined)
  }

  async readMany(ids: readonly string[]): Promise<UpscaleTask[]> {
    const storable = ids.filter(isStorable)
    if (storable.length === 0) return []
    const rows = await this.#db.selectFrom('task').selectAll().where('id', 'in', storable).execute()
    return rows.map(toTask)
  }

  async update(previous: UpscaleTask, next: UpscaleTask): Promise<boolean> {
    // Only what differs: a callback may have hurried it since `previous` was read.
    const changes = toChanges(toRow(previous), toRow(next))
    const { id, version, upstreamTaskId } = previous
    const named = upstreamTaskId !== null
    const shape = ['update', named, ...Object.keys(changes)].join()
    const values = [...Object.values(changes), id, version, ...(named ? [upstreamTaskId] : [])]
    const written = this.#db.transaction().execute(async (trx) => {
      const { numAffectedRows } = await this.#queries.run(trx, shape, values, () =>
        trx
          .updateTable('task')
          .set(changes)
          .where('id', '=', id)
          .where('version', '=', version)
          .where('upstream_task_id', named ? '=' : 'is', upstreamTaskId),
      )
      if (numAffectedRows === 0n) return false
      if (next.version > version) await queueDeliveries(trx, next, this.#queries)
      return true
    })
    // Where the commit was not answered, it may have been made all the same.
    const won = await written.catch((error: unknown) => {
      this.#hints.announce(next.id)
      throw error
    })
    if (won) this.#hints.announce(next.id, next)
    return won
  }

  async list({ owner, status, after, limit }: TaskListQuery): Promise<UpscaleTask[]> {
    let query = this.#db.selectFrom('task').selectAll().where('owner', '=', owner)
    if (status !== null) query = query.where('status', '=', status)
    if (after !== null)
      query = query.where((where) =>
        where(where.refTuple('created_at', 'id'), '<', where.tuple(after.createdAt, after.id)),
      )
    const rows = await query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit).execute()
    return rows.map(toTask)
  }

  async claimDue(now: number, leaseUntil: number, limit: number): Promise<UpscaleTask[]> {
    const rows = await this.#db
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
    await this.#db
      .updateTable('task')
      .set({ due_at: dueAt, polls: claimed.polls + 1 })
      .where('id', '=', claimed.id)
      .where('version', '=', claimed.version)
      .where('due_at', '=', claimed.dueAt)
      .execute()
  }

  async hurry(id: string): Promise<void> {
    await this.#db
      .updateTable('task')
      .set({ due_at: 0 })
      .where('id', '=', id)
      .where('status', '!=', 'SUCCEEDED')
      .execute()
  }

  async removeSettled(before: number, limit: number): Promise<number> {
    const { numDeletedRows } = await this.#db
      .deleteFrom('task')
      .where('id', 'in', (from) =>
        from.selectFrom('task').select('id').where('settled_at', '<', before).limit(limit),
      )
      .executeTakeFirstOrThrow()
    return Number(numDeletedRows)
  }

  async countByStatus(): Promise<Partial<Record<TaskStatus, number>>> {
    const rows = await this.#db
      .selectFrom('task')
      .select(({ fn }) => ['status', fn.countAll().as('count')])
      .groupBy('status')
      .execute()
    return Object.fromEntries(rows.map(({ status, count }) => [status, Number(count)]))
  }

  async check(): Promise<void> {
    await this.#db.selectFrom('task').select('id').limit(1).execute()
    await this.#locking.checkWritable(this.#db)
  }
}

/** The task that a key names; undefined when the key is free. */
async function findNamed(
  trx: Transaction<Database>,
  claim: string,
  now: number,
): Promise<UpscaleTask | undefined> {
  const row = await trx
    .selectFrom('idempotency_key')
    .innerJoin('task', 'task.id', 'idempotency_key.task_id')
    .selectAll('task')
    .where('claim', '=', claim)
    .where('until', '>', now)
    .executeTakeFirst()
  const task = row && toTask(row)
  return task && !isUncharged(task) ? task : undefined
}

/** Lets a free key name a task. */
async function name(trx: Transaction<Database>, { claim, until }: IdempotencyKey, id: string): Promise<void> {
  const names = { task_id: id, until }
  await trx
    .insertInto('idempotency_key')
    .values({ claim, ...names })
    .onConflict((conflict) => conflict.column('claim').doUpdateSet(names))
    .execute()
}

/** The newest task for the same picture that is running, or done with images that have not expired. */
async function findHolder(
  trx: Transaction<Database>,
  { pictureDigest, createdAt }: UpscaleTask,
  queries: CompiledQueries,
): Promise<UpscaleTask | undefined> {
  const values = [pictureDigest, 'SUBMITTED', 'PROCESSING', 'SUCCEEDED', createdAt, 1]
  const { rows } = await queries.run(trx, 'holder', values, () =>
    trx
      .selectFrom('task')
      .selectAll()
      .where('picture_digest', '=', pictureDigest)
      .where((where) =>
        where.or([
          where('status', 'in', ['SUBMITTED', 'PROCESSING']),
          where.and([where('status', '=', 'SUCCEEDED'), where('images_expire_at', '>', createdAt)]),
        ]),
      )
      .orderBy('created_at', 'desc')
      .orderBy('id', 'desc')
      .limit(1),
  )
  return rows[0] && toTask(rows[0])
}

/** PostgreSQL knows no NUL in a text, and makes an error of a question with one. */
function isStorable(text: string): boolean {
  return !text.includes('\0')
}

function toChanges(previous: TaskRow, next: TaskRow): Partial<TaskRow> {
  const columns = Object.keys(next) as (keyof TaskRow)[]
  return Object.fromEntries(
    columns.filter((column) => next[column] !== previous[column]).map((column) => [column, next[column]]),
  )
}
