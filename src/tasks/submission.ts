/** The outcome of a submit. */
import type { Failure } from './failure.ts'
import type { SubmitOutcome } from './observer.ts'
import type { TaskDependencies } from './ports.ts'
import { StoreUnavailableError } from './store-port.ts'
import { isWaiting, type UpscaleTask } from './task.ts'

/**
 * The outcome of a submit. If it was refused, `task` is null, `failure` is the reason, and `failedTaskId` is
 * the id of the stored refusal, if there is one.
 */
export type Submission = { readonly replayed: boolean } & (
  | { readonly task: UpscaleTask; readonly failure: null }
  | { readonly task: null; readonly failure: Failure; readonly failedTaskId: string | null }
)

/** Thrown when a replay would exceed the maximum number of callback URLs of a task. */
export class TooManyCallbacksError extends Error {
  override name = 'TooManyCallbacksError'
}

/**
 * Thrown when the store failed after the task may have been sent, and a repeated request would not find it,
 * because it has neither a key nor a shared picture (`force`): it would pay again.
 */
export class UnrepeatableError extends StoreUnavailableError {
  override name = 'UnrepeatableError'
}

/** A refused task is never shown as a task, whether the submit is the first or a replay. */
export function toSubmission(task: UpscaleTask, replayed: boolean): Submission {
  return task.failedBy === 'REFUSAL' && task.failure !== null
    ? { task: null, failure: task.failure, failedTaskId: task.id, replayed }
    : { task, failure: null, replayed }
}

/** Reports the outcome of a submit that begins now to the observer. */
export async function observeSubmit(
  { observer, clock }: Pick<TaskDependencies, 'observer' | 'clock'>,
  submitting: Promise<Submission>,
): Promise<Submission> {
  const startedAt = clock.elapsed()
  const end = (outcome: SubmitOutcome) => observer?.onSubmit(outcome, clock.elapsed() - startedAt)
  try {
    const submission = await submitting
    end(toOutcome(submission))
    return submission
  } catch (error) {
    const isRefused = error instanceof TooManyCallbacksError
    if (isRefused) observer?.onRefusal('callback_urls')
    end(isRefused ? 'BAD_USER_INPUT' : 'error')
    throw error
  }
}

function toOutcome({ task, failure, replayed }: Submission): SubmitOutcome {
  if (replayed) return 'replayed'
  if (task === null) return failure.code
  if (isWaiting(task)) return 'queued'
  return task.status === 'SUBMITTED' ? 'unanswered' : 'accepted'
}
