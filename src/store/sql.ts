import { sql, type CompiledQuery, type Expression, type Kysely, type QueryResult, type SqlBool } from 'kysely'
import type { Outbox } from '../deliveries/outbox.ts'
import type { CopyUses, ResultJobs } from '../results/jobs.ts'
import type { TaskStore } from '../tasks/store-port.ts'
import type { QueueStore } from '../tasks/queue/queue-ports.ts'
import type { Database } from './schema.ts'

/** Tasks, deliveries, and the work on results, in one database. */
export interface Stores extends AsyncDisposable {
  readonly store: TaskStore
  readonly queueStore: QueueStore
  readonly outbox: Outbox
  readonly resultJobs: ResultJobs
  readonly copyUses: CopyUses
  /** Deletes what is stored of an owner: see erase.ts. */
  eraseOwner(owner: string): Promise<Erasure>
}

/** What has been deleted of an owner: numbers of rows. */
export interface Erasure {
  readonly tasks: number
  readonly keys: number
  readonly deliveries: number
  /** Copies that no other owner's task uses: they are UNUSED, and the result worker deletes their files. */
  readonly copies: number
  /** Days of reported costs, by engine. */
  readonly usage: number
  /** Tasks that have not settled. They are kept: a result that was paid for may still arrive. */
  readonly open: number
}

/** A statement that Kysely can compile. */
export interface Statement<Row> {
  compile(executor: Kysely<Database>): CompiledQuery<Row>
}

/** Runs a statement. */
export type Run = <Row>(statement: Statement<Row>) => Promise<QueryResult<Row>>

/** A database: Kysely builds the statements; the dialect runs them. */
export interface Sql extends AsyncDisposable {
  /** Builds statements; does not run them. */
  readonly db: Kysely<Database>
  /** Runs one statement, outside of `transact`. */
  readonly run: Run
  /**
   * All statements that `work` runs through its `run` are one transaction: it commits as a whole or not at
   * all. If this rejects because the commit was not confirmed, the transaction may have committed.
   */
  transact<T>(work: (run: Run) => Promise<T>): Promise<T>
  /**
   * Whether rows can be locked one by one. If not, a transaction holds the only write lock from its start.
   */
  readonly locksRows: boolean
  /**
   * Whether `id` is one of these. The list is one parameter, so that lists of any length share a prepared
   * statement.
   */
  isOneOf(ids: readonly string[]): Expression<SqlBool>
  /**
   * After the disk was full: rejects until a file can grow again. (A write that needs no new page could
   * succeed before.)
   */
  readonly checkSpace?: () => Promise<void>
  /** Rejects once the open file is no longer the one at its path: a restart would lose the data. */
  readonly checkFile?: () => Promise<void>
}

/** Other transactions that lock one of these names wait until this one ends. */
export async function lockNames({ locksRows }: Sql, run: Run, names: readonly string[]): Promise<void> {
  if (!locksRows) return
  // Always in the same order, so that no two transactions wait for one another.
  for (const name of [...names].sort())
    await run(sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`)
}

/** How often a process looks for rows that another process scheduled before its clock was set back. */
const CHECK_EVERY_MS = 60_000

/**
 * Makes a function that returns whether to check the schedule in the database: at the first call, after the
 * clock of this process was set back, and once a minute.
 */
export function createScheduleCheck(): (now: number) => boolean {
  let checkedAt = Infinity
  return (now) => {
    if (now >= checkedAt && now < checkedAt + CHECK_EVERY_MS) return false
    checkedAt = now
    return true
  }
}

/** PostgreSQL refuses a NUL in a text; an unpaired surrogate would be stored, and compared, as U+FFFD. */
export function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}
