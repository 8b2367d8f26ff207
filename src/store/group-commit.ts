import type { DatabaseSync, StatementSync } from 'node:sqlite'

/** For how long nobody must have come where more are expected. */
const QUIET_MS = 0.2

/**
 * Transactions on one SQLite connection: they take turns, in the order in which they came, and those that come within one
 * turn of the event loop are committed together, because a commit waits for the disk and that is what they cost. Each
 * stands in a savepoint of its own, so one that fails takes none of the others with it; and none is told of its end
 * before it is on the disk.
 */
export class GroupCommit {
  readonly #db: DatabaseSync
  readonly #savepoint: StatementSync
  readonly #release: StatementSync
  #waiting: PromiseWithResolvers<void>[] = []
  /** How many were in the last group. */
  #expected = 1
  /** How many of the next one have come, and when the last of them was seen. */
  #came = 0
  #cameAt = 0
  /** Settles with the commit of what is open; undefined while nothing is. */
  #committed: PromiseWithResolvers<void> | undefined

  constructor(db: DatabaseSync) {
    this.#db = db
    this.#savepoint = db.prepare('savepoint turn')
    this.#release = db.prepare('release turn')
  }

  /** Resolves when it is the caller's turn, in which everything done on the connection is one transaction. */
  enter(): Promise<void> {
    // After everything that the sockets have brought by now.
    if (this.#waiting.length === 0 && !this.#committed) setImmediate(() => this.#gather())
    const turn = Promise.withResolvers<void>()
    this.#waiting.push(turn)
    return turn.promise
  }

  /** Ends the turn. What is kept is on the disk when this resolves; if it rejects, nothing of it is. */
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

  /**
   * Begins once as many have come as the last time, and after that the turn is over; or when nobody has come for a while. So
   * one who comes alone waits for nobody, and a crowd that comes again and again is committed as one.
   */
  #gather(): void {
    const now = performance.now()
    if (this.#waiting.length > this.#came) {
      this.#came = this.#waiting.length
      this.#cameAt = now
    }
    const full = this.#waiting.length >= this.#expected
    if (full || now >= this.#cameAt + QUIET_MS) this.#begin()
    else setImmediate(() => this.#gather())
  }

  #begin(): void {
    this.#committed = Promise.withResolvers()
    this.#expected = this.#waiting.length
    this.#came = 0
    // Whoever rolled back does not ask.
    this.#committed.promise.catch(() => undefined)
    try {
      // From its start it holds the write lock: SQLite refuses the upgrade at once, without the busy time-out, when
      // another process has written in between.
      this.#db.exec('begin immediate')
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
      this.#committed?.resolve()
      this.#committed = undefined
      return
    }
    this.#savepoint.run()
    this.#waiting.shift()
    turn.resolve()
  }

  /** SQLite has given up the whole transaction (the disk is full, say): so has everyone in it, and who waited for it. */
  #fail(error: unknown): void {
    if (this.#db.isOpen && this.#db.isTransaction) this.#db.exec('rollback')
    this.#committed?.reject(error)
    this.#committed = undefined
    for (const turn of this.#waiting.splice(0)) turn.reject(error)
  }
}
