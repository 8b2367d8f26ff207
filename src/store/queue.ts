import {
  MAX_QUEUE_COUNT,
  type QueueBacklog,
  type QueueEntry,
  type QueueStore,
  type TaskTimes,
} from '../tasks/queue/queue-ports.ts'
import { CLOCK_TOLERANCE_MS } from '../tasks/store-port.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import { toTask } from './schema.ts'
import { createScheduleCheck, type Run, type Sql } from './sql.ts'

/** The rank of a new task, and how many tasks are ahead of it. */
type NewRank = Pick<UpscaleTask, 'queueRank' | 'queueAhead'>

/** The QueueStore in SQL: columns of the tasks. */
export class SqlQueue implements QueueStore {
  readonly #sql: Sql
  readonly #isCheckDue = createScheduleCheck()

  constructor(sql: Sql) {
    this.#sql = sql
  }

  async claimQueued(engine: string, now: number, leaseUntil: number, limit: number): Promise<UpscaleTask[]> {
    const { db, run } = this.#sql
    await this.#checkSchedule(now)
    const claim = db
      .with('due', () => toQueueQuery(this.#sql, engine, now, limit))
      .updateTable('task')
      .set({ queueDueAt: leaseUntil })
      .where('id', 'in', (from) => from.selectFrom('due').select('due.id'))
      .returningAll()
    // The rows of a RETURNING clause have no order.
    return (await run(claim)).rows.map(toTask).sort(byRank)
  }

  /**
   * Makes tasks due that were scheduled before the clock was set back (no delay in the queue is as long as
   * the tolerance), and removes those that a replica of a release without the queue has settled.
   */
  async #checkSchedule(now: number): Promise<void> {
    if (!this.#isCheckDue(now)) return
    const { db, run } = this.#sql
    const late = db.updateTable('task').where('queueDueAt', '>', now + 2 * CLOCK_TOLERANCE_MS)
    await run(late.set({ queueDueAt: now }))
    const left = db.updateTable('task').where('queueRank', 'is not', null).where('status', '<>', 'SUBMITTED')
    await run(left.set({ queueRank: null, queueDueAt: null }))
  }

  readTurn(engine: string, now: number): Promise<number | null> {
    return readTurn(this.#sql.db, this.#sql.run, engine, now)
  }

  async nextQueueDueAt(engine: string, now: number): Promise<number | null> {
    const { db, run } = this.#sql
    await this.#checkSchedule(now)
    const waiting = db.selectFrom('task').select('queueDueAt').where('queueDueAt', 'is not', null)
    const next = waiting.where('engine', '=', engine)
    return (await run(next.orderBy('queueDueAt').limit(1))).rows[0]?.queueDueAt ?? null
  }

  async hasMoreThan(engine: string, count: number): Promise<boolean> {
    const { db, run } = this.#sql
    const waiting = db.selectFrom('task').select('queueRank').where('queueRank', 'is not', null)
    const others = waiting.where('engine', '=', engine).orderBy('queueRank').offset(count)
    return (await run(others.limit(1))).rows.length > 0
  }

  async listQueued(limit: number): Promise<Pick<UpscaleTask, 'id' | 'engine'>[]> {
    const { db, run } = this.#sql
    const waiting = db.selectFrom('task').select(['id', 'engine']).where('queueRank', 'is not', null)
    const byEngine = waiting.orderBy('engine').orderBy('queueRank').orderBy('createdAt').orderBy('id')
    return (await run(byEngine.limit(limit))).rows
  }

  async readPosition(id: string): Promise<number | null> {
    const { db, run } = this.#sql
    const upTo = db
      .selectFrom('task')
      .innerJoin('task as other', (join) =>
        join.onRef('other.engine', '=', 'task.engine').on('other.queueRank', 'is not', null),
      )
      .where('task.id', '=', id)
      .where('task.queueRank', 'is not', null)
      .where(({ eb, refTuple }) =>
        eb(
          refTuple('other.queueRank', 'other.createdAt', 'other.id'),
          '<=',
          refTuple('task.queueRank', 'task.createdAt', 'task.id'),
        ),
      )
      .select(({ fn }) => fn.countAll().as('count'))
    return Number((await run(upTo)).rows[0]?.count) || null
  }

  async readBacklog(): Promise<QueueBacklog> {
    const { db, run } = this.#sql
    const waiting = db.selectFrom('task').select('createdAt').where('queueRank', 'is not', null)
    const counted = db
      .selectFrom(waiting.limit(MAX_QUEUE_COUNT).as('waiting'))
      .select(({ fn }) => [fn.countAll().as('count'), fn.min('createdAt').as('oldestCreatedAt')])
    const [row] = (await run(counted)).rows
    return { count: Number(row?.count ?? 0), oldestCreatedAt: row?.oldestCreatedAt ?? null }
  }

  async readTimes(engine: string, limit: number): Promise<TaskTimes[]> {
    const { db, run } = this.#sql
    const latest = db
      .selectFrom('task')
      .select(['engine', 'createdAt', 'sentAt', 'settledAt', 'status', 'failedBy', 'queueAhead'])
      .where('settledAt', 'is not', null)
      .orderBy('settledAt', 'desc')
      .limit(10 * limit)
    const ran = db
      .selectFrom(latest.as('latest'))
      .select(['createdAt', 'sentAt', 'settledAt', 'queueAhead'])
      .where('engine', '=', engine)
      .where('sentAt', 'is not', null)
      .where((where) => where.or([where('status', '=', 'SUCCEEDED'), where('failedBy', '=', 'UPSTREAM')]))
      .orderBy('settledAt', 'desc')
      .limit(limit)
    return (await run(ran)).rows.flatMap(({ sentAt, settledAt, ...times }) =>
      sentAt === null || settledAt === null ? [] : [{ ...times, sentAt, settledAt }],
    )
  }
}

/**
 * The tasks to claim, in the order of an index: those of lowest rank that are neither leased nor deferred.
 */
function toQueueQuery({ db, locksRows }: Sql, engine: string, now: number, limit: number) {
  return (
    db
      .selectFrom('task')
      .select('id')
      .where('engine', '=', engine)
      .where('queueRank', 'is not', null)
      .where('queueDueAt', '<=', now)
      // Others fail by the poll worker.
      .where('deadlineAt', '>', now)
      .orderBy('queueRank')
      .orderBy('createdAt')
      .orderBy('id')
      .limit(limit)
      .$if(locksRows, (query) => query.forUpdate().skipLocked())
  )
}

async function readTurn(db: Sql['db'], run: Run, engine: string, now: number): Promise<number | null> {
  const waiting = db.selectFrom('task').where('engine', '=', engine).where('queueRank', 'is not', null)
  const due = waiting.where('queueDueAt', '<=', now)
  return (await run(due.select('queueRank').orderBy('queueRank').limit(1))).rows[0]?.queueRank ?? null
}

function byRank(one: UpscaleTask, other: UpscaleTask): number {
  return (one.queueRank ?? 0) - (other.queueRank ?? 0) || one.createdAt - other.createdAt
}

/**
 * Decides the rank of a new task, in the transaction that inserts it and holds the lock on the owner's part
 * of the queue. Null: that part is full.
 */
export async function readNewRank(
  { db }: Sql,
  run: Run,
  { owner, engine, createdAt }: Pick<UpscaleTask, 'owner' | 'engine' | 'createdAt'>,
  { limit, weight }: Pick<QueueEntry<unknown>, 'limit' | 'weight'>,
): Promise<NewRank | null> {
  const all = db.selectFrom('task').where('queueRank', 'is not', null)
  const { rows: own } = await run(
    all
      .where('owner', '=', owner)
      .groupBy('engine')
      .select(({ fn }) => ['engine', fn.countAll().as('count'), fn.max('queueRank').as('last')]),
  )
  if (limit !== null && own.reduce((sum, { count }) => sum + Number(count), 0) >= limit) return null
  const last = own.find((each) => each.engine === engine)?.last ?? 0
  const waiting = all.where('engine', '=', engine)
  const { rows: first } = await run(waiting.select('queueRank').orderBy('queueRank').limit(1))
  const turn = (await readTurn(db, run, engine, createdAt)) ?? first[0]?.queueRank ?? 0
  // An owner without waiting tasks starts at the current turn: it saves up no turns while it has no tasks.
  const queueRank = Math.max(turn, last) + 1 / weight
  const { rows: ahead } = await run(
    waiting.where('queueRank', '<=', queueRank).select(({ fn }) => fn.countAll().as('count')),
  )
  return { queueRank, queueAhead: Number(ahead[0]?.count) }
}
