/** What the core reports for metrics. */
import type { UpscaleErrorCode } from './failure.ts'
import type { TaskEventSource, TaskStatus } from './task.ts'

/**
 * How a submit was answered. accepted: the upstream has the task. queued: it waits in the queue. replayed:
 * with the task of an earlier request. unanswered: the answer of the upstream was lost. BAD_USER_INPUT: too
 * many callback URLs. error: an unexpected error, such as a store that is down. Any other: the code of the
 * refusal.
 */
export type SubmitOutcome =
  'accepted' | 'queued' | 'replayed' | 'unanswered' | 'error' | 'BAD_USER_INPUT' | UpscaleErrorCode

/** A limit of the core that refuses requests. */
export type TaskLimit = 'owner_rate' | 'engine_rate' | 'queue' | 'callback_urls'

/** Gets each fact once, after it has happened. Its methods do not throw. Durations in milliseconds. */
export interface TaskObserver {
  /** A submit was answered, this long after its start. */
  onSubmit(outcome: SubmitOutcome, ms: number): void
  /**
   * A task has settled, this long after its creation. `source`: what brought the result, also if its
   * inspection was the last step. A task that succeeds after it has failed settles twice.
   */
  onSettle(status: TaskStatus, source: TaskEventSource, ms: number): void
  /** A limit has refused a request. */
  onRefusal(limit: TaskLimit): void
}
