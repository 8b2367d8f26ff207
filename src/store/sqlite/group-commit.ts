import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'
import { StoreUnavailableError } from '../../tasks/store-port.ts'
import { DatabaseLockedError, isBusy, RETRY_MS } from './locks.ts'

export interface GroupCommitOptions {
  /** Resolves when everything that was committed before is on the disk. */
  sync(): Promise<void>
  /** How long a transaction waits for another process's lock. */
  readonly lockTimeoutMs: number
}

interface Turn extends PromiseWithResolvers<void> {
  readonly enteredAt: number
}

/**
 * Transactions on one SQLite connection, in order of arrival. Those that arrive during a sync are committed
 * together, because the sync takes most of the time. Each runs in its own savepoint, so a failed one does not
 * roll back the others. `leave` resolves only once the commit is durable.
 *
 * Nothing here blocks the event loop: SQLite only writes, `sync` flushes the log in the background, and a
 * lock of another process is retried. Until `sync` resolves, a commit survives a crash of this process, but
 * not a power cut.
 */
export class GroupCommit {
  readonly #db: DatabaseSync
  readonly #options: GroupCommitOptions
  readonly #savepoint: StatementSync
  readonly #release: StatementSync
  readonly #changes: StatementSync
  #waiting: Turn[] = []
  /** Settles when the open group is durable; undefined while no group is open. */
  #committed: PromiseWithResolvers<void> | undefined
  /** The number of changed rows when the group began. */
  #changedBefore = 0
  #syncing = false
  /** A sync has failed: the log may have a gap, and a recovery would lose every commit after it. */
  #doubtful = false

  /** `db` must have no busy timeout. */
  constructor(db: DatabaseSync, options: GroupCommitOptions) {
    this.#db = db
    this.#options = options
    this.#savepoint = db.prepare('savepoint turn')
    this.#release = db.prepare('release turn')
    this.#changes = db.prepare('select total_changes() as count')
  }

  /**
   * Resolves when the caller's turn begins. All its statements on the connection are one transaction, until
   * `leave`.
   */
  enter(): Promise<void> {
    const turn = { ...Promise.withResolvers<void>(), enteredAt: performance.now() }
    this.#waiting.push(turn)
    if (this.#waiting.length === 1 && !this.#committed && !this.#syncing) this.#beginSoon()
    return turn.promise
  }

  /** Ends the turn. Once this resolves, the kept changes are durable. If it rejects, they may be lost. */
  async leave(keep: boolean): Promise<void> {
    const committed = this.#committed?.promise
    try {
      if (!keep) this.#db.exec('rollback to turn')
      this.#release.run()
      this.#next()
    } catch (error) {
      this.#fail(error)
    }
    if (keep) await committed
  }

  /** Begins after the pending I/O, so that all requests that have arrived are in one group. */
  #beginSoon(): void {
    setImmediate(() => this.#begin())
  }

  #begin(): void {
    try {
      // An earlier rollback has failed.
      if (this.#db.isTransaction) this.#db.exec('rollback')
      // Takes the write lock at once: upgrading a read lock later fails when another process has written in
      // between.
      this.#db.exec('begin immediate')
      this.#committed = Promise.withResolvers()
      // A transaction that rolls back does not await this promise.
      this.#committed.promise.catch(() => undefined)
      this.#changedBefore = this.#countChanges()
      this.#next()
    } catch (error) {
      if (isBusy(error)) this.#retryBegin(error)
      else this.#fail(error)
    }
  }

  /**
   * Another process holds the write lock: retries, and rejects each transaction that has waited for the lock
   * timeout.
   */
  #retryBegin(error: unknown): void {
    const { lockTimeoutMs } = this.#options
    const expired = performance.now() - lockTimeoutMs
    for (let [turn] = this.#waiting; turn && turn.enteredAt <= expired; [turn] = this.#waiting) {
      this.#waiting.shift()
      turn.reject(new DatabaseLockedError(lockTimeoutMs, error))
    }
    if (this.#waiting.length > 0) setTimeout(() => this.#begin(), RETRY_MS)
  }

  /** The next turn, or the commit if no transaction waits. */
  #next(): void {
    const turn = this.#waiting[0]
    if (turn === undefined) {
      this.#db.exec('commit')
      void this.#finish(this.#committed)
      this.#committed = undefined
      return
    }
    this.#savepoint.run()
    this.#waiting.shift()
    turn.resolve()
  }

  async #finish(group: PromiseWithResolvers<void> | undefined): Promise<void> {
    this.#syncing = true
    try {
      // A group that has changed no row needs no sync.
      if (this.#countChanges() !== this.#changedBefore) {
        if (this.#doubtful) await this.#emptyLog()
        await this.#options.sync()
      }
      group?.resolve()
    } catch (error) {
      this.#doubtful = true
      group?.reject(error)
    }
    this.#syncing = false
    if (this.#waiting.length > 0) this.#beginSoon()
  }

  /** Checkpoints all commits into the database file, and syncs it. */
  async #emptyLog(): Promise<void> {
    const until = performance.now() + this.#options.lockTimeoutMs
    while (this.#db.prepare('pragma wal_checkpoint(truncate)').get()?.busy !== 0) {
      if (performance.now() >= until)
        throw new StoreUnavailableError(
          'The disk has refused a commit, and its log cannot be checkpointed: another process holds a lock',
        )
      await pause(RETRY_MS)
    }
    this.#doubtful = false
  }

  #countChanges(): number {
    return Number(this.#changes.get()?.count)
  }

  /**
   * Every transaction in the group fails, and every waiting one: SQLite rolled the group back, for example on
   * a full disk.
   */
  #fail(error: unknown): void {
    const reason = this.#rollBack(error)
    this.#committed?.reject(reason)
    this.#committed = undefined
    for (const turn of this.#waiting.splice(0)) turn.reject(reason)
  }

  /** Returns the error; if the rollback fails, too, an AggregateError of both. */
  #rollBack(error: unknown): unknown {
    try {
      if (this.#db.isOpen && this.#db.isTransaction) this.#db.exec('rollback')
      return error
    } catch (rollbackError) {
      return new AggregateError(
        [error, rollbackError],
        `${String(error)}; the rollback failed, too: ${String(rollbackError)}`,
      )
    }
  }
}
