import type { ChangeQuery, TaskChange } from './watch/task-change.ts'
import type { Usage } from './engines/usage.ts'
import type { QueueEntry } from './queue/queue-ports.ts'
import type { TaskStatus, UpscaleTask } from './task.ts'

/**
 * How far the clocks of replicas may differ. A row that was written later than now plus this proves that a
 * clock was set back.
 */
export const CLOCK_TOLERANCE_MS = 300_000

/** A position in a list of tasks, newest first: the task at that position. */
export interface TaskPosition {
  readonly createdAt: number
  readonly id: string
}

export interface TaskListQuery {
  readonly owner: string
  readonly status: TaskStatus | null
  /** Only tasks after this position. */
  readonly after: TaskPosition | null
  readonly limit: number
}

/**
 * Thrown by every store when the database is away, full or read-only, or did not answer in time: nothing is
 * wrong with the request. `cause` is the reason. Unless stated otherwise, nothing was stored or the request
 * can be repeated safely.
 */
export class StoreUnavailableError extends Error {
  override name = 'StoreUnavailableError'
}

/**
 * Thrown when a commit was not confirmed: it may have succeeded, or may succeed shortly. `cause` is the
 * reason.
 */
export class UnconfirmedError extends StoreUnavailableError {
  override name = 'UnconfirmedError'
}

/**
 * Durable tasks. Every commit of an update is announced on the topic of the task, and every commit of a new
 * task or a new version on the topic of its owner; nothing else is announced.
 */
export interface TaskStore {
  /**
   * Stores a new task, or returns an existing one: the task that the idempotency key names or, without
   * `force`, the newest task for the same picture that is running, or done with images that have not expired.
   * The key then names that task. Atomic: of concurrent inserts with one key or picture, exactly one is
   * stored. A key is free when it has expired, or names a task that was refused without a charge. `admit` is
   * called before a new task is stored, `admitKey` before a new key names an existing task; if they refuse,
   * nothing is stored, and the refusal is returned.
   * @throws UnconfirmedError if the task may have been stored; after any other error it was not.
   */
  insert<Refusal = never>(
    task: UpscaleTask,
    options: InsertOptions<Refusal>,
  ): Promise<Insertion | { readonly inserted: false; readonly refusal: Refusal }>
  /** The task as last committed, or undefined. */
  read(id: string): Promise<UpscaleTask | undefined>
  /**
   * Writes what differs between `previous` and `next`, if the revision is still that of `previous`. If the
   * task settles, its deliveries become due in the same transaction.
   */
  update(previous: UpscaleTask, next: UpscaleTask): Promise<UpdateOutcome>
  /** The existing tasks among these ids, in any order, by one query. */
  readMany(ids: readonly string[]): Promise<UpscaleTask[]>
  /** One owner's tasks, newest first. */
  list(query: TaskListQuery): Promise<UpscaleTask[]>
  /** The latest change of each of an owner's tasks, by time (that of the writer's clock) and id. */
  listChanges(query: ChangeQuery): Promise<TaskChange[]>
  /**
   * Claims up to `limit` tasks that are due and have no result, longest due first. Concurrent claims never
   * get the same task. If the claimer dies, its tasks are due again at `leaseUntil`. Tolerates a clock that
   * was set back: tasks that were scheduled more than CLOCK_TOLERANCE_MS after `now` become due within a
   * minute, and none of their deadlines is later than `latestDeadline`.
   */
  claimDue(now: number, leaseUntil: number, limit: number, latestDeadline?: number): Promise<UpscaleTask[]>
  /**
   * The tasks that `claimDue` would claim: how many (at most MAX_OVERDUE), and the due time of the oldest;
   * null: there is none.
   */
  readOverdue(now: number): Promise<Overdue>
  /**
   * Ends a claim: counts the poll and sets when the task is due next; null: never. Changes nothing if the
   * task or its due time has changed since the claim.
   */
  reschedule(claimed: UpscaleTask, next: Schedule): Promise<void>
  /** Makes an unsettled task without a result due at this instant, unless it is due earlier. */
  pollSoon(id: string, dueAt: number): Promise<void>
  /** Renews the lease on the answer to a submit; no effect once the answer is stored. */
  extendAnswer(id: string, answerBy: number): Promise<void>
  /**
   * Deletes up to `limit` tasks settled before this instant, with their keys and deliveries; returns how
   * many. Copies that no other task uses become unused in the same transaction.
   */
  removeSettled(before: number, limit: number): Promise<number>
  /**
   * As `removeSettled`, for one task of this owner. Undefined: the owner has no such task. False: it has not
   * settled.
   */
  remove(owner: string, id: string): Promise<boolean | undefined>
  /** Deletes up to `limit` idempotency keys that are free again; returns how many. */
  removeExpiredKeys(now: number, limit: number): Promise<number>
  /** The engines of all tasks that still wait for a result. */
  listOpenEngines(): Promise<string[]>
  /**
   * The reported costs since this day, newest day first, then by owner and engine; `owner` null: of all
   * owners. An update that sets the credits of a task adds them in the same transaction, to the day of its
   * report.
   */
  readUsage(fromDay: string, owner: string | null): Promise<Usage[]>
  /**
   * The number of tasks by status, at a bounded cost. Exact, except in a large PostgreSQL table: there
   * SUCCEEDED and FAILED are estimates, and so are SUBMITTED and PROCESSING from 10,000 on.
   */
  countByStatus(): Promise<Partial<Record<TaskStatus, number>>>
  /**
   * Resolves if the store answers, accepts writes and has the schema that this version needs; rejects
   * otherwise.
   */
  check(): Promise<void>
}

/** `readOverdue` counts no further than this, so that it takes a few milliseconds at any number. */
export const MAX_OVERDUE = 10_000

/** The tasks that are due. */
export interface Overdue {
  readonly count: number
  readonly oldestDueAt: number | null
}

/** When a task is polled next, and the number of polls in a row that did not find it. */
export type Schedule = Pick<UpscaleTask, 'dueAt' | 'notFoundCount' | 'notFoundSince'>

/**
 * conflict: another writer was first; nothing has changed. updated: committed. deliveriesDue: committed, with
 * deliveries due.
 */
export type UpdateOutcome = 'conflict' | 'updated' | 'deliveriesDue'

/** An owner's idempotency key. */
export interface IdempotencyKey {
  /** A digest of owner and key: the key itself is not stored. */
  readonly claim: string
  /** When it expires. */
  readonly until: number
}

export interface InsertOptions<Refusal> {
  /** Stores the task even if one for the same picture exists; default false. */
  readonly force?: boolean
  readonly key?: IdempotencyKey | null
  /** Gives the new task its turn in the queue, in which it may be sent at once; null: it is not queued. */
  readonly queue?: QueueEntry<Refusal> | null
  /** The URL for the delivery of a new task; null: no delivery. */
  readonly callBackUrl?: string | null
  /** Returns why a new task must not be stored; null: it may. */
  readonly admit?: () => Promise<Refusal | null>
  /** Returns why a new key must not name an existing task; null: it may. */
  readonly admitKey?: () => Promise<Refusal | null>
}

export type Insertion =
  | { readonly inserted: true }
  | {
      readonly inserted: false
      readonly existing: UpscaleTask
      /**
       * otherEngineKey: the request that first used the key named another engine, or one of the two named
       * none.
       */
      readonly by: 'key' | 'otherEngineKey' | 'picture'
    }
