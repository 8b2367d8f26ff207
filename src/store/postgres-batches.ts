import { sql } from 'kysely'
import { StoreUnavailableError, type UpdateOutcome } from '../tasks/ports.ts'
import { isSettled, type UpscaleTask } from '../tasks/task.ts'
import { NO_ATTEMPTS } from './outbox.ts'
import { toChanges } from './schema.ts'
import { isDeadlock } from './postgres-errors.ts'
import type { Run, Sql } from './sql.ts'
import { createUpdate, type WriteUpdate } from './update-task.ts'

/** How many updates one transaction writes at most. */
const MAX_SIZE = 100
/**
 * The maximum of concurrent batches, and of concurrent single updates: they leave connections of the pool to
 * other work. Updates that a batch could not write are not limited.
 */
const MAX_BATCHES = 2
const MAX_ALONE = 4

interface Update extends PromiseWithResolvers<UpdateOutcome> {
  readonly previous: UpscaleTask
  readonly next: UpscaleTask
  readonly changes: Readonly<Record<string, unknown>>
  /** Updates of one shape share a statement: they change the same columns. */
  readonly shape: string
}

/**
 * Writes updates that arrive together in one transaction, which has as many round trips and commits as a
 * single update. While the maximum of transactions runs, later updates wait.
 */
export function createUpdateBatches(database: Sql): WriteUpdate {
  const updateAlone = createUpdate(database)
  const batches = new UpdateBatches(database, updateAlone)
  return (previous, next) =>
    // Changes of credits are rare, and several in one batch could wait for the same usage row.
    next.creditsConsumed === previous.creditsConsumed
      ? batches.write(previous, next)
      : updateAlone(previous, next)
}

class UpdateBatches {
  readonly #sql: Sql
  readonly #updateAlone: WriteUpdate
  #waiting: Update[] = []
  #batches = 0
  #alone = 0
  #isScheduled = false

  constructor(database: Sql, updateAlone: WriteUpdate) {
    this.#sql = database
    this.#updateAlone = updateAlone
  }

  write: WriteUpdate = (previous, next) => {
    const changes = toChanges(previous, next)
    const shape = Object.keys(changes).sort().join()
    const update = { ...Promise.withResolvers<UpdateOutcome>(), previous, next, changes, shape }
    this.#waiting.push(update)
    this.#startSoon()
    return update.promise
  }

  /** Starts after the pending I/O, so that all updates that have arrived are in one batch. */
  #startSoon(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      while (this.#startOne());
    })
  }

  /** A single update needs only a simple statement. It may wait for a locked task, so batches run beside it. */
  #startOne(): boolean {
    const [first, second] = this.#waiting
    if (first === undefined) return false
    if (second === undefined && this.#alone < MAX_ALONE) {
      this.#waiting = []
      void this.#runAlone(first)
      return true
    }
    if (this.#batches === MAX_BATCHES) return false
    void this.#runBatch()
    return true
  }

  async #runAlone({ previous, next, resolve }: Update): Promise<void> {
    this.#alone += 1
    const written = this.#updateAlone(previous, next)
    resolve(written)
    await Promise.allSettled([written])
    this.#alone -= 1
    this.#startSoon()
  }

  async #runBatch(): Promise<void> {
    const batch = this.#take()
    this.#batches += 1
    await this.#settle(batch)
    this.#batches -= 1
    this.#startSoon()
  }

  /** Takes the longest waiting update and others of its shape, each of another task. */
  #take(): Map<string, Update> {
    const [first] = this.#waiting
    const batch = new Map<string, Update>()
    this.#waiting = this.#waiting.filter((update) => {
      const { id } = update.next
      const fits = update.shape === first?.shape && batch.size < MAX_SIZE && !batch.has(id)
      if (fits) batch.set(id, update)
      return !fits
    })
    return batch
  }

  /** Does not reject. */
  async #settle(batch: ReadonlyMap<string, Update>): Promise<void> {
    const outcomes = await this.#write([...batch.values()]).catch((error: unknown) => {
      if (!(error instanceof StoreUnavailableError) || isDeadlock(error.cause))
        return new Map<string, UpdateOutcome>()
      for (const { reject } of batch.values()) reject(error)
      return undefined
    })
    if (outcomes === undefined) return
    for (const [id, { previous, next, resolve }] of batch)
      // Not written: the task was changed or locked, or the database refused the whole batch.
      resolve(outcomes.get(id) ?? this.#updateAlone(previous, next))
  }

  /** The outcomes of the updates that were written. Waits for no task that another transaction has locked. */
  async #write(updates: readonly Update[]): Promise<Map<string, UpdateOutcome>> {
    const update = toUpdate(updates)
    return this.#sql.transact(async (run) => {
      const written = new Set((await run(update)).rows.map(({ id }) => id))
      const settled = updates.filter(
        ({ previous, next }) => written.has(next.id) && next.version > previous.version && isSettled(next),
      )
      const due = await queueDeliveriesOf(
        run,
        settled.map(({ next }) => next),
      )
      return new Map([...written].map((id) => [id, due.has(id) ? 'deliveriesDue' : 'updated']))
    })
  }
}

/**
 * Updates tasks that have the revision of `previous`. Skips those that another transaction has locked: no two batches wait for
 * each other's tasks, and a transaction that holds the lock of a task delays no other task.
 */
export function toUpdate(updates: readonly Pick<Update, 'previous' | 'next' | 'changes'>[]) {
  const ids = updates.map(({ next }) => next.id)
  const rows = updates.map(({ next: { id }, changes }) => ({ id, ...changes }))
  const revisions = updates.map(({ previous }) => previous.revision)
  const columns = Object.keys(updates[0]?.changes ?? {})
  const changes = columns.map((column) => sql`${sql.ref(column)} = next.${sql.ref(column)}`)
  // `any` appears twice: the number of ids makes the planner use the index even for a small table.
  return sql<{ id: string }>`
    with locked as (
      select id from task where id = any(${ids}) for no key update skip locked
    )
    update task set ${sql.join(changes)}
    from rows from (
      json_populate_recordset(null::task, ${JSON.stringify(rows)}), unnest(${revisions}::integer[])
    ) as next
    where task.id = any(${ids}) and task.id in (select id from locked)
      and task.id = next.id and task.revision = next.unnest
    returning task.id`
}

/**
 * Makes the deliveries of settled tasks due, and returns the ids of tasks that have deliveries. A separate
 * statement, because the update's snapshot misses a delivery that is added while it runs.
 */
async function queueDeliveriesOf(run: Run, tasks: readonly UpscaleTask[]): Promise<ReadonlySet<string>> {
  if (tasks.length === 0) return new Set()
  const [ids, versions, times] = [
    tasks.map(({ id }) => id),
    tasks.map(({ version }) => version),
    tasks.map(({ updatedAt }) => updatedAt),
  ]
  const reset = Object.entries(NO_ATTEMPTS).map(
    ([column, value]) => sql`${sql.ref(column)} = ${sql.lit(value)}`,
  )
  const { rows } = await run(sql<{ id: string }>`
    update delivery set version = next.version, ${sql.join(reset)}, "dueSince" = next.at, "dueAt" = next.at, "scheduledAt" = next.at
    from unnest(${ids}::text[], ${versions}::integer[], ${times}::bigint[]) as next (id, version, at)
    where "taskId" = next.id
    returning next.id`)
  return new Set(rows.map(({ id }) => id))
}
