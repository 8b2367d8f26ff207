import type { TaskContext } from './context.ts'
import type { SubmitAnswer } from './ports.ts'
import type { Report } from './report.ts'
import { holdLease, storeAnswer } from './submit-storage.ts'
import type { UpscaleTask } from './task.ts'

interface SendOptions {
  /** The secret in the callback URL, whose hash the task has. */
  readonly token: string
  readonly correlationId: string
  /** When the request began, on the monotonic clock. */
  readonly startedAt: number
  /** Returns another report of the answer than `toAnswerReport` does; undefined: that one. */
  readonly toOtherReport?: (answer: SubmitAnswer) => Promise<Report | undefined>
}

/**
 * Sends the paid request of a task and stores the answer. The caller has committed before that the task is being sent, so
 * that no crash can send it twice.
 */
export async function sendTask(
  context: TaskContext,
  task: UpscaleTask,
  { token, correlationId, startedAt, toOtherReport }: SendOptions,
): Promise<UpscaleTask> {
  const { upscaler, clock, policy, log } = context
  const { sourceTaskId, imageIndex, waterMark } = task
  const request = { sourceTaskId, imageIndex, waterMark, callBackUrl: context.callbackUrl(task.id, token) }
  const answer = await holdLease(context, task.id, () => upscaler.submit(request, correlationId))
  // If the store fails now, only this line links the payment to the task.
  log.info({ taskId: task.id, correlationId, answer }, 'the upstream has answered')
  const report =
    (await toOtherReport?.(answer)) ??
    toAnswerReport(answer, clock.now(), policy.pollIntervalMs, correlationId)
  return storeAnswer(context, task, report, startedAt)
}

function toAnswerReport(
  answer: SubmitAnswer,
  at: number,
  pollAfterMs: number,
  correlationId: string,
): Report {
  const facts = { at, source: 'SUBMIT' } as const
  switch (answer.kind) {
    case 'accepted':
      return { ...facts, ...answer, pollAt: at + pollAfterMs }
    case 'refused':
      return { ...facts, ...answer, failure: { ...answer.failure, correlationId } }
    case 'unknown':
      return { ...facts, kind: 'unanswered', note: answer.note }
    default:
      return answer satisfies never
  }
}
