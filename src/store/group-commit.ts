import type { DatabaseSync, StatementSync } from 'node:sqlite'

/**
 * Transactions on one SQLite connection: they take turns, in the order in which they came, and those that come while the disk
 * is busy with the last ones are committed together, because the disk is what a commit waits for. Each stands in a savepoint
 * of its own, so one that fails takes none of the others with it; and none is told of its end before it is on the disk.
 *
 * SQLite itself would hold up everything else while it waits for the disk. So it only writes, and `sync` is waited for beside
 * it. Until then a commit outlives this process, but not a power cut.
 */
export class GroupCommit {
  readonly #db: DatabaseSync
  readonly #sync: () => Promise<void>
  readonly #savepoint: StatementSync
  readonly #release: StatementSync
  readonly #changes: StatementSync
  #waiting: PromiseWithResolvers<void>[] = []
  /** Settles when what is open is on the disk; undefined while nothing is. */
  #committed: PromiseWithResolvers<void> | undefined
  /** What had been changed when the group began. */
  #changedBefore = 0
  #syncing = false
  /** The disk has once refused: what it refused may be missing from the log, and what stands after it would be lost with it. */
  #doubtful = false

  /** `sync` resolves when everything that was committed before is on the disk. */
  constructor(db: DatabaseSync, sync: () => Promise<void>) {
    this.#db = db
    this.#sync = sync
    this.#savepoint = db.prepare('savepoint turn')
    this.#release = db.prepare('release turn')
    this.#changes = db.prepare('select total_changes() as count')
  }

  /** Resolves when it is the caller's turn, in which everything done on the connection is one transaction. */
  enter(): Promise<void> {
    const turn = Promise.withResolvers<void>()
    this.#waiting.push(turn)
    if (this.#waiting.length === 1 && !this.#committed && !this.#syncing) this.#beginSoon()
    return turn.promise
  }

  /** Ends the turn. What is kept is on the disk when this resolves. If it rejects, nothing of it may be. */
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

  /** With everything that the sockets have brought by then. */
  #beginSoon(): void {
    setImmediate(() => this.#begin())
  }

  #begin(): void {
    this.#committed = Promise.withResolvers()
    // Whoever rolled back does not ask.
    this.#committed.promise.catch(() => undefined)
    try {
      // From its start it holds the write lock: SQLite refuses the upgrade at once, without the busy time-out, when
      // another process has written in between.
      this.#db.exec('begin immediate')
      this.#changedBefore = this.#countChanges()
      this.#next()
    } catch (error) {
      this.#fail(error)
    }
  }

  /** The next turn, or the commit when nobody waits for one. */
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
      // What only looked, or came too late, has written nothing.
      if (this.#countChanges() !== this.#changedBefore) {
        if (this.#doubtful) this.#emptyLog()
        await this.#sync()
      }
      group?.resolve()
    } catch (error) {
      this.#doubtful = true
      group?.reject(error)
    }
    this.#syncing = false
    if (this.#waiting.length > 0) this.#beginSoon()
  }

  /** Brings everything that is committed into the database itself, and that to the disk. */
  #emptyLog(): void {
    const outcome = this.#db.prepare('pragma wal_checkpoint(truncate)').get()
    if (outcome?.busy !== 0)
      throw new Error('The disk has refused a commit, and the log could not be written anew')
    this.#doubtful = false
  }

  #countChanges(): number {
    return Number(this.#changes.get()?.count)
  }

  /** SQLite has given up the whole transaction (the disk is full, say): so has everyone in it, and who waited for it. */
  #fail(error: unknown): void {
    try {
      if (this.#db.isOpen && this.#db.isTransaction) this.#db.exec('rollback')
    } finally {
      this.#committed?.reject(error)
      this.#committed = undefined
      for (const turn of this.#waiting.splice(0)) turn.reject(error)
    }
  }
}
