import type { Kysely, Selectable, Transaction } from 'kysely'
import type { Insertion, TaskHints, TaskListQuery, TaskStore } from '../tasks/ports.ts'
import type { Failure } from '../tasks/failure.ts'
import type { TaskEvent, UpscaledImage, UpscaleTask } from '../tasks/task.ts'
import type { Database, TaskRow } from './schema.ts'

/** The TaskStore in SQL. Announces what it has committed; the dialect is the caller's choice. */
export class SqlTaskStore implements TaskStore {
  readonly #db: Kysely<Database>
  readonly #hints: TaskHints

  constructor(db: Kysely<Database>, hints: TaskHints) {
    this.#db = db
    this.#hints = hints
  }

  insert<Refusal = never>(
    task: UpscaleTask,
    { force, admit }: { force: boolean; admit?: () => Promise<Refusal | null> },
  ): Promise<Insertion | { inserted: false; refusal: Refusal }> {
    return this.#db.transaction().execute(async (trx) => {
      await releaseExpired(trx, task)
      const holder = await findHolder(trx, force ? { ...task, pictureClaim: null } : task)
      if (holder !== undefined) return holder
      const refusal = (await admit?.()) ?? null
      if (refusal !== null) return { inserted: false, refusal }
      if (force) await release(trx, 'picture_claim').where('picture_claim', '=', task.pictureClaim).execute()
      const { numInsertedOrUpdatedRows } = await trx
        .insertInto('task')
        .values(toRow(task))
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirstOrThrow()
      if (numInsertedOrUpdatedRows === 1n) return { inserted: true }
      const winner = await findHolder(trx, task)
      if (winner === undefined) throw new Error(`Task ${task.id} conflicts with a claim that nobody holds`)
      return winner
    })
  }

  async read(id: string): Promise<UpscaleTask | undefined> {
    const row = await this.#db.selectFrom('task').selectAll().where('id', '=', id).executeTakeFirst()
    return row && toTask(row)
  }

  async readMany(ids: readonly string[]): Promise<UpscaleTask[]> {
    const rows = await this.#db.selectFrom('task').selectAll().where('id', 'in', ids).execute()
    return rows.map(toTask)
  }

  async update(previous: UpscaleTask, next: UpscaleTask): Promise<boolean> {
    const { id: _id, key_claim: _key, picture_claim: _picture, ...values } = toRow(next)
    const { numUpdatedRows } = await this.#db
      .updateTable('task')
      .set(values)
      // A claim is only ever given up: `force` may have handed it to another task since `previous` was read.
      .$if(next.keyClaim === null, (query) => query.set('key_claim', null))
      .$if(next.pictureClaim === null, (query) => query.set('picture_claim', null))
      .where('id', '=', previous.id)
      .where('version', '=', previous.version)
      .executeTakeFirstOrThrow()
    if (numUpdatedRows === 0n) return false
    this.#hints.announce(next.id)
    return true
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
      .updateTable('task')
      .set({ due_at: leaseUntil })
      .where('id', 'in', (from) =>
        from.selectFrom('task').select('id').where('due_at', '<=', now).orderBy('due_at').limit(limit),
      )
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

  async hurry(id: string, now: number): Promise<void> {
    await this.#db
      .updateTable('task')
      .set({ due_at: now })
      .where('id', '=', id)
      .where('status', '!=', 'SUCCEEDED')
      .where((where) => where.or([where('due_at', 'is', null), where('due_at', '>', now)]))
      .execute()
  }

  async listOverdue(now: number, limit: number): Promise<UpscaleTask[]> {
    const rows = await this.#db
      .selectFrom('task')
      .selectAll()
      .where('settled_at', 'is', null)
      .where('deadline_at', '<=', now)
      .orderBy('deadline_at')
      .limit(limit)
      .execute()
    return rows.map(toTask)
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

  async check(): Promise<void> {
    await this.#db.selectFrom('task').select('id').limit(1).execute()
  }
}

type Claim = 'key_claim' | 'picture_claim'

function release(trx: Transaction<Database>, claim: Claim) {
  return trx.updateTable('task').set(claim, null)
}

/** A claim that has run out holds nobody up, whether or not anything has cleared it yet. */
async function releaseExpired(trx: Transaction<Database>, task: UpscaleTask): Promise<void> {
  for (const [claim, value] of [
    ['key_claim', task.keyClaim],
    ['picture_claim', task.pictureClaim],
  ] as const) {
    if (value === null) continue
    await release(trx, claim).where(claim, '=', value).where(`${claim}_until`, '<=', task.createdAt).execute()
  }
}

async function findClaim(
  trx: Transaction<Database>,
  claim: Claim,
  value: string | null,
): Promise<UpscaleTask | undefined> {
  if (value === null) return undefined
  const row = await trx.selectFrom('task').selectAll().where(claim, '=', value).executeTakeFirst()
  return row && toTask(row)
}

/** Who holds a claim that this task would need: the key's holder before the picture's. */
async function findHolder(
  trx: Transaction<Database>,
  task: UpscaleTask,
): Promise<Extract<Insertion, { inserted: false }> | undefined> {
  const byKey = await findClaim(trx, 'key_claim', task.keyClaim)
  if (byKey !== undefined) return { inserted: false, existing: byKey, by: 'key' }
  const byPicture = await findClaim(trx, 'picture_claim', task.pictureClaim)
  if (byPicture !== undefined) return { inserted: false, existing: byPicture, by: 'picture' }
  return undefined
}

function toRow(task: UpscaleTask): TaskRow {
  return {
    id: task.id,
    version: task.version,
    owner: task.owner,
    status: task.status,
    source_task_id: task.sourceTaskId,
    image_index: task.imageIndex,
    water_mark: task.waterMark,
    images: task.images && JSON.stringify(task.images),
    failure: task.failure && JSON.stringify(task.failure),
    refused: Number(task.refused),
    upstream_task_id: task.upstreamTaskId,
    callback_token_hash: task.callbackTokenHash,
    key_claim: task.keyClaim,
    key_claim_until: task.keyClaimUntil,
    picture_claim: task.pictureClaim,
    picture_claim_until: task.pictureClaimUntil,
    answer_by: task.answerBy,
    created_at: task.createdAt,
    updated_at: task.updatedAt,
    settled_at: task.settledAt,
    deadline_at: task.deadlineAt,
    due_at: task.dueAt,
    polls: task.polls,
    history: JSON.stringify(task.history),
  }
}

function toTask(row: Selectable<TaskRow>): UpscaleTask {
  return {
    id: row.id,
    version: row.version,
    owner: row.owner,
    status: row.status,
    sourceTaskId: row.source_task_id,
    imageIndex: row.image_index,
    waterMark: row.water_mark,
    images: row.images === null ? null : (JSON.parse(row.images) as UpscaledImage[]),
    failure: row.failure === null ? null : (JSON.parse(row.failure) as Failure),
    refused: row.refused === 1,
    upstreamTaskId: row.upstream_task_id,
    callbackTokenHash: row.callback_token_hash,
    keyClaim: row.key_claim,
    keyClaimUntil: row.key_claim_until,
    pictureClaim: row.picture_claim,
    pictureClaimUntil: row.picture_claim_until,
    answerBy: row.answer_by,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    settledAt: row.settled_at,
    deadlineAt: row.deadline_at,
    dueAt: row.due_at,
    polls: row.polls,
    history: JSON.parse(row.history) as TaskEvent[],
  }
}
