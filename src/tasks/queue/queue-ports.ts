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

/**
 * The waiting tasks, in the order of their ranks. A rank is given when a task is queued: one turn after the previous task of
 * its owner, or after the task whose turn it is (one that waits for a later attempt had its turn). So owners take turns, each in the order of its submits, and a claim
 * reads one entry of an index, however many tasks and owners wait.
 */
export interface QueueStore {
  /**
   * Leases up to `limit` tasks that may be sent now, first turn first. Concurrent claims never get the same task. If the
   * claimer dies, its tasks may be claimed again at `leaseUntil`. Tolerates a clock that was set back, as `claimDue` does.
   */
  claimQueued(now: number, leaseUntil: number, limit: number): Promise<UpscaleTask[]>
  /** The rank of the first task that may be sent at this instant; null: none may. */
  readTurn(now: number): Promise<number | null>
  /** When the next task may be sent; null: none waits. Tolerates a clock that was set back, as `claimQueued` does. */
  nextQueueDueAt(now: number): Promise<number | null>
  /** Whether more than this many tasks wait. */
  hasMoreThan(count: number): Promise<boolean>
  /** The ids of the first `limit` waiting tasks, first turn first. */
  listQueued(limit: number): Promise<string[]>
  /** The position of a task: 1 is sent next; null: it does not wait. */
  readPosition(id: string): Promise<number | null>
  /** How many tasks wait. */
  countQueued(): Promise<number>
  /**
   * The times of the `limit` tasks that have settled last, the latest first; without those that were refused or expired. Looks
   * at ten times as many tasks at most.
   */
  readTimes(limit: number): Promise<TaskTimes[]>
}
