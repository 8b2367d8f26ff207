/** What the queue needs from the store. */
import type { UpscaleTask } from '../task.ts'

/** How a new task enters the queue. */
export interface QueueEntry<Refusal> {
  /** How many tasks of one owner may wait; null: any number. */
  readonly limit: number | null
  /** The owner's share: an owner with weight 2 gets two turns for one turn of an owner with weight 1. */
  readonly weight: number
  /** Returned if the owner's part of the queue is full. */
  readonly full: Refusal
}

/** The times of a task that has settled. Instants are Unix milliseconds. */
export type TaskTimes = Pick<UpscaleTask, 'createdAt' | 'queueAhead'> & {
  readonly sentAt: number
  readonly settledAt: number
}

/** `readBacklog` counts no further than this, so that it takes a few milliseconds at any number. */
export const MAX_QUEUE_COUNT = 10_000

/** The tasks that wait. */
export interface QueueBacklog {
  readonly count: number
  readonly oldestCreatedAt: number | null
}

/**
 * The waiting tasks of each engine, lowest rank first. A task gets its rank when it is queued: one turn after
 * the last waiting task of its owner for the same engine, or after the current turn if that is later. The
 * current turn is the rank of the first task of the engine that may be sent now. So owners take turns, each
 * in the order of its submits. A claim reads one entry of an index, however many tasks and owners wait.
 */
export interface QueueStore {
  /**
   * Leases up to `limit` tasks that may be sent now, lowest rank first. Concurrent claims never get the same
   * task. If the claimer dies, its tasks may be claimed again at `leaseUntil`. Tolerates a clock that was set
   * back, as `claimDue` does.
   */
  claimQueued(engine: string, now: number, leaseUntil: number, limit: number): Promise<UpscaleTask[]>
  /** The current turn; null: no task may be sent now. */
  readTurn(engine: string, now: number): Promise<number | null>
  /**
   * When the next task may be sent; null: none waits. Tolerates a clock that was set back, as `claimQueued`
   * does.
   */
  nextQueueDueAt(engine: string, now: number): Promise<number | null>
  /** Whether more than this many tasks wait for the engine. */
  hasMoreThan(engine: string, count: number): Promise<boolean>
  /** Up to `limit` waiting tasks, by engine, lowest rank first. */
  listQueued(limit: number): Promise<Pick<UpscaleTask, 'id' | 'engine'>[]>
  /** The position of a task among those of its engine: 1 is sent next; null: it does not wait. */
  readPosition(id: string): Promise<number | null>
  /**
   * How many tasks wait (at most MAX_QUEUE_COUNT), and when the oldest of them was created; null: none waits.
   */
  readBacklog(): Promise<QueueBacklog>
  /**
   * The times of the last `limit` tasks of an engine that have succeeded, or that the upstream has failed,
   * latest first. Considers only the last ten times as many settled tasks of all engines.
   */
  readTimes(engine: string, limit: number): Promise<TaskTimes[]>
}
