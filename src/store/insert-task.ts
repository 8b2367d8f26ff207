import {
  UnconfirmedError,
  type IdempotencyKey,
  type InsertOptions,
  type Insertion,
} from '../tasks/store-port.ts'
import { isUncharged, type UpscaleTask } from '../tasks/task.ts'
import { toNewDelivery } from './outbox.ts'
import { readNewRank } from './queue.ts'
import { toRow, toTask, type TaskRow } from './schema.ts'
import { lockNames, type Run, type Sql } from './sql.ts'
import { createTemplate } from './template.ts'

type Inserted<Refusal> = Insertion | { readonly inserted: false; readonly refusal: Refusal }

/**
 * Stores a new task, unless its key or its picture names an existing one: this is what makes a repeated
 * request pay once. It looks and writes in one transaction, and requests with the same key or picture wait
 * for each other.
 */
export function insertTask<Refusal>(
  sql: Sql,
  task: UpscaleTask,
  { force = false, key = null, callBackUrl = null, queue = null, admit, admitKey }: InsertOptions<Refusal>,
): Promise<Inserted<Refusal>> {
  const { db } = sql
  let written = false
  const work = async (run: Run): Promise<Inserted<Refusal>> => {
    await lockNames(sql, run, [
      task.pictureDigest,
      ...(key ? [key.claim] : []),
      ...(queue ? [`queue ${task.owner}`] : []),
    ])
    const named = key && (await findNamed(sql, run, key.claim, task.createdAt))
    if (named) {
      const isSame = named.requestedEngine === task.requestedEngine
      return { inserted: false, existing: named.task, by: isSame ? 'key' : 'otherEngineKey' }
    }
    const existing = force ? undefined : await findSamePicture(sql, run, task)
    if (existing !== undefined) {
      const refusal = key && ((await admitKey?.()) ?? null)
      if (refusal !== null) return { inserted: false, refusal }
      if (key) await nameTask(sql, run, key, { ...task, id: existing.id })
      return { inserted: false, existing, by: 'picture' }
    }
    const rank = queue && (await readNewRank(sql, run, task, queue))
    if (queue && rank === null) return { inserted: false, refusal: queue.full }
    const refusal = (await admit?.()) ?? null
    if (refusal !== null) return { inserted: false, refusal }
    await run(insertRow(toRow({ ...task, ...rank })))
    if (key) await nameTask(sql, run, key, task)
    const place = { position: 0, now: task.createdAt, version: 0 }
    if (callBackUrl !== null)
      await run(db.insertInto('delivery').values(toNewDelivery(task, callBackUrl, place)))
    written = true
    return { inserted: true }
  }
  return sql.transact(work).catch((error: unknown) => {
    throw written ? new UnconfirmedError('The commit of a task was not confirmed', { cause: error }) : error
  })
}

/** The task that a key names, and the engine that its request has named; undefined when the key is free. */
async function findNamed(
  { db }: Sql,
  run: Run,
  claim: string,
  now: number,
): Promise<{ readonly task: UpscaleTask; readonly requestedEngine: string | null } | undefined> {
  const { rows } = await run(
    db
      .selectFrom('idempotencyKey')
      .innerJoin('task', 'task.id', 'idempotencyKey.taskId')
      .selectAll('task')
      .select('idempotencyKey.requestedEngine as keyEngine')
      .where('claim', '=', claim)
      .where('until', '>', now),
  )
  if (rows[0] === undefined) return undefined
  const { keyEngine: requestedEngine, ...row } = rows[0]
  const task = toTask(row)
  return isUncharged(task) ? undefined : { task, requestedEngine }
}

/** Makes a free key name a task. */
async function nameTask(
  { db }: Sql,
  run: Run,
  { claim, until }: IdempotencyKey,
  { id: taskId, requestedEngine }: Pick<UpscaleTask, 'id' | 'requestedEngine'>,
) {
  const entry = { taskId, until, requestedEngine }
  await run(
    db
      .insertInto('idempotencyKey')
      .values({ claim, ...entry })
      .onConflict((conflict) => conflict.column('claim').doUpdateSet(entry)),
  )
}

/**
 * The newest task for the same picture that is running, or done with images that have not expired. If the
 * caller has named an engine, only at that engine; else at the engine of the new task, or at any engine that
 * the gateway chose.
 */
async function findSamePicture({ db }: Sql, run: Run, task: UpscaleTask): Promise<UpscaleTask | undefined> {
  const { pictureDigest, engine, requestedEngine, createdAt } = task
  const find = requestedEngine === null ? findAtAnyEngine : findAtEngine
  const { rows: found } = await run(find({ pictureDigest, engine, createdAt }))
  if (found[0] === undefined) return undefined
  const { rows } = await run(db.selectFrom('task').selectAll().where('id', '=', found[0].id))
  return rows[0] && toTask(rows[0])
}

type Picture = Pick<UpscaleTask, 'pictureDigest' | 'engine' | 'createdAt'>

const insertRow = createTemplate((db, row: TaskRow) => db.insertInto('task').values(row))

const findAtEngine = createTemplate((db, picture: Picture) =>
  selectSamePicture(db, picture).where('engine', '=', picture.engine),
)

const findAtAnyEngine = createTemplate((db, picture: Picture) =>
  selectSamePicture(db, picture).where((where) =>
    where.or([where('engine', '=', picture.engine), where('requestedEngine', 'is', null)]),
  ),
)

function selectSamePicture(db: Sql['db'], { pictureDigest, createdAt }: Picture) {
  // Usually there is no such task, and SQLite finds that out three times as fast if one column is selected.
  return db
    .selectFrom('task')
    .select('id')
    .where('pictureDigest', '=', pictureDigest)
    .where((where) =>
      where.or([
        where('status', 'in', ['SUBMITTED', 'PROCESSING']),
        where.and([
          where('status', '=', 'SUCCEEDED'),
          where.or([where('imagesExpireAt', '>', createdAt), where('imagesExpireAt', 'is', null)]),
        ]),
      ]),
    )
    .orderBy('createdAt', 'desc')
    .limit(1)
}
