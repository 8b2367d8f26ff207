import type { TaskContext } from '../context.ts'
import { storeAnswer } from '../submit-storage.ts'
import type { UpscaleTask } from '../task.ts'

/** How long a claim lasts until the task is marked as being sent, in milliseconds. */
export const CLAIM_LEASE_MS = 10_000

/** A task that is being sent. */
export interface Sending {
  readonly task: UpscaleTask
  /** Its rank and its deadline in the queue, in case it goes back; null: it has not waited there. */
  readonly queued: { readonly queueRank: number; readonly deadlineAt: number } | null
  /** The secret in the callback URL, whose hash the task has. */
  readonly token: string
  /** When the request began, on the monotonic clock. */
  readonly startedAt: number
}

/**
 * Commits that a claimed task is being sent. Undefined: it must not be sent, because it has left the queue or
 * the store fails.
 */
export async function beginSending(context: TaskContext, claimed: UpscaleTask): Promise<Sending | undefined> {
  const { clock, secrets, policy, report, estimates, log } = context
  const { queueRank, engine } = claimed
  if (queueRank === null) return undefined
  const queued = { queueRank, deadlineAt: claimed.deadlineAt }
  const token = secrets.newToken()
  const callbackTokenHash = secrets.digest(token)
  const startedAt = clock.elapsed()
  const runMs = await estimates.runMs(engine)
  const at = clock.now()
  const facts = { at, source: 'SUBMIT', callbackTokenHash } as const
  try {
    const answerBy = at + policy.answerLeaseMs
    const deadlineAt = at + policy.deadlineMs
    const estimatedDoneAt = runMs === null ? null : at + runMs
    const task = await report(claimed, { ...facts, kind: 'sending', answerBy, deadlineAt, estimatedDoneAt })
    return task.callbackTokenHash === callbackTokenHash ? { task, queued, token, startedAt } : undefined
  } catch (error) {
    const { id: taskId, correlationId } = claimed
    log.warn(
      { err: error, taskId, correlationId },
      'failed to take a task out of the queue; nothing was sent',
    )
    // The commit may have happened nevertheless.
    const { queueAttempts } = claimed
    const back = { ...queued, engine, queueDueAt: at, queueAttempts, failure: null, note: 'not sent' }
    storeAnswer(context, claimed, { ...facts, kind: 'deferred', ...back }, startedAt).catch(() => undefined)
    return undefined
  }
}
