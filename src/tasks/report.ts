import type { Failure } from './failure.ts'
import type { TaskEventSource, UpscaledImage } from './task.ts'

/** What an attempt has found out about one image. */
type InspectedImage = Pick<UpscaledImage, 'facts' | 'copyState'> & {
  /** The index in the task's images. */
  readonly position: number
}

/** New information about a task, its time and source. `note` is a readable text for the task's history. */
export type Report = { readonly at: number; readonly source: TaskEventSource } & (
  | { readonly kind: 'accepted'; readonly upstreamTaskId: string; readonly pollAt: number }
  | { readonly kind: 'unanswered'; readonly note: string }
  | { readonly kind: 'refused'; readonly failure: Failure; readonly note: string }
  | {
      readonly kind: 'succeeded'
      readonly upstreamTaskId: string
      readonly images: readonly UpscaledImage[]
      /** The deadline of the inspection, which delays SUCCEEDED; null: the result is not inspected. */
      readonly inspectBy: number | null
      /** Missing: not reported. */
      readonly creditsConsumed?: number
    }
  | {
      /** An attempt to inspect and copy the images has ended, or its inspection has reached its deadline. */
      readonly kind: 'inspected'
      readonly images: readonly InspectedImage[]
      /** When the next attempt is due if a copy is still PENDING; null: the attempt continues. */
      readonly retryAt: number | null
      readonly note: string
    }
  | {
      readonly kind: 'failed'
      readonly upstreamTaskId: string
      readonly failure: Failure
      /**
       * UPSTREAM: the upstream reported the failure of this task, which is final. SILENCE: a late success
       * still counts.
       */
      readonly failedBy: 'UPSTREAM' | 'SILENCE'
      readonly note: string
      /** Missing: not reported. */
      readonly creditsConsumed?: number
    }
  | {
      /** The task leaves the queue to be sent now, once, with a new callback token. */
      readonly kind: 'sending'
      readonly callbackTokenHash: string
      readonly answerBy: number
      /** A new deadline: a task that has waited for long has as much time for its result as any other. */
      readonly deadlineAt: number
      readonly estimatedDoneAt: number | null
    }
  | {
      /** The engine takes no task now: the task goes back into the queue. */
      readonly kind: 'deferred'
      /** The engine that it waits for now. */
      readonly engine: string
      /** The callback token of the send that was refused. */
      readonly callbackTokenHash: string
      readonly queueRank: number
      readonly queueDueAt: number
      /** How often it has gone back into the queue to be sent again later. A move does not count. */
      readonly queueAttempts: number
      readonly deadlineAt: number
      /** Null: the task was not sent. */
      readonly failure: Failure | null
      readonly note: string
    }
  | {
      /** A waiting task moves to the lane of another engine, because its own is unavailable. */
      readonly kind: 'moved'
      readonly engine: string
      readonly queueRank: number
      readonly queueDueAt: number
      readonly note: string
    }
  /** The task leaves the queue without being sent. */
  | { readonly kind: 'withdrawn'; readonly failure: Failure; readonly note: string }
  | {
      readonly kind: 'overdue'
      /** The deadline that has passed. A task that has since left the queue has a later one. */
      readonly deadlineAt: number
    }
)

export type ReportOf<Kind extends Report['kind']> = Extract<Report, { kind: Kind }>
