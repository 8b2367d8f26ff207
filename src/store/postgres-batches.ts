import type { Log } from '../tasks/ports.ts'
import { StoreUnavailableError, type UpdateOutcome } from '../tasks/store-port.ts'
import { isSettled } from '../tasks/task.ts'
import { makeDeliveriesDueOf, toBatchStatement, type BatchUpdate } from './batch-statements.ts'
import { toChanges } from './schema.ts'
import { isDeadlock } from './postgres-errors.ts'
import { CONNECT_TIMEOUT_MS } from './postgres-pool.ts'
import type { Sql } from './sql.ts'
import { createUpdate, type WriteUpdate } from './update-task.ts'

/** How many updates one transaction writes at most. */
const MAX_SIZE = 100
/**
 * The maximum of concurrent batches, and of concurrent single updates: they leave connections of the pool to
 * other work. Updates that a batch could not write are not limited.
 */
const MAX_BATCHES = 2
const MAX_SINGLE = 4

interface Update extends BatchUpdate, PromiseWithResolvers<UpdateOutcome> {
  /** On the monotonic clock. */
  readonly arrivedAt: number
  /** Updates of one shape share a statement: they change the same columns. */
  readonly shape: string
}

/**
 * Writes updates that arrive together in one transaction, which has as many round trips and commits as a
 * single update. While the maximum of transactions runs, later updates wait, as long as they would wait for a
 * connection: then the transactions hang, and the updates fail.
 */
export function createUpdateBatches(database: Sql, log: Pick<Log, 'warn'>): WriteUpdate {
  const updateSingly = createUpdate(database)
  const batches = new UpdateBatches(database, updateSingly, log)
  return (previous, next) =>
    // Changes of credits are rare, and several in one batch could wait for the same usage row.
    next.creditsConsumed === previous.creditsConsumed
      ? batches.write(previous, next)
      : updateSingly(previous, next)
}

class UpdateBatches {
  readonly #sql: Sql
  readonly #updateSingly: WriteUpdate
  readonly #log: Pick<Log, 'warn'>
  /** The longest waiting first. */
  #waiting: Update[] = []
  /** Runs while updates wait. */
  #timer: NodeJS.Timeout | undefined
  #batches = 0
  #single = 0
  #isScheduled = false

  constructor(database: Sql, updateSingly: WriteUpdate, log: Pick<Log, 'warn'>) {
    this.#sql = database
    this.#updateSingly = updateSingly
    this.#log = log
  }

  write: WriteUpdate = (previous, next) => {
    const changes = toChanges(previous, next)
    const shape = Object.keys(changes).sort().join()
    const arrivedAt = performance.now()
    const update = { ...Promise.withResolvers<UpdateOutcome>(), previous, next, changes, shape, arrivedAt }
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
      this.#limitWait()
    })
  }

  #limitWait(): void {
    const [first] = this.#waiting
    if (first === undefined || this.#timer !== undefined) return
    const failOverdue = () => {
      this.#timer = undefined
      const latest = performance.now() - CONNECT_TIMEOUT_MS
      const inTime = this.#waiting.findIndex(({ arrivedAt }) => arrivedAt > latest)
      const overdue = this.#waiting.splice(0, inTime < 0 ? this.#waiting.length : inTime)
      const error = new StoreUnavailableError('The database is unavailable: earlier updates hang')
      for (const { reject } of overdue) reject(error)
      this.#limitWait()
    }
    const leftMs = first.arrivedAt + CONNECT_TIMEOUT_MS - performance.now()
    this.#timer = setTimeout(failOverdue, Math.max(0, leftMs))
  }

  /**
   * A single update needs only a simple statement. It may wait for a locked task, so batches run beside it.
   */
  #startOne(): boolean {
    const [first, second] = this.#waiting
    if (first === undefined) return false
    if (second === undefined && this.#single < MAX_SINGLE) {
      this.#waiting = []
      void this.#runSingly(first)
      return true
    }
    if (this.#batches === MAX_BATCHES) return false
    void this.#runBatch()
    return true
  }

  async #runSingly({ previous, next, resolve }: Update): Promise<void> {
    this.#single += 1
    const written = this.#updateSingly(previous, next)
    resolve(written)
    await Promise.allSettled([written])
    this.#single -= 1
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
      if (!(error instanceof StoreUnavailableError) || isDeadlock(error.cause)) {
        const message = 'a batch of updates failed; its updates are written one by one'
        this.#log.warn({ err: error, updates: batch.size }, message)
        return new Map<string, UpdateOutcome>()
      }
      for (const { reject } of batch.values()) reject(error)
      return undefined
    })
    if (outcomes === undefined) return
    for (const [id, { previous, next, resolve }] of batch)
      // Not written: the task was changed or locked, or the database refused the whole batch.
      resolve(outcomes.get(id) ?? this.#updateSingly(previous, next))
  }

  /** The outcomes of the updates that were written. Waits for no task that another transaction has locked. */
  async #write(updates: readonly Update[]): Promise<Map<string, UpdateOutcome>> {
    const update = toBatchStatement(updates)
    return this.#sql.transact(async (run) => {
      const written = new Set((await run(update)).rows.map(({ id }) => id))
      const settled = updates.filter(
        ({ previous, next }) => written.has(next.id) && next.version > previous.version && isSettled(next),
      )
      const due = await makeDeliveriesDueOf(
        run,
        settled.map(({ next }) => next),
      )
      return new Map([...written].map((id) => [id, due.has(id) ? 'deliveriesDue' : 'updated']))
    })
  }
}
