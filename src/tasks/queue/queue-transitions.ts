/**
 * How a task enters and leaves the queue. Its version does not grow: clients see `queue` change, not the
 * status.
 */
import { fail, LEFT_QUEUE, record } from '../changes.ts'
import type { ReportOf } from '../report.ts'
import { isWaiting, wantsQueue, type UpscaleTask } from '../task.ts'

/** After this commit the request may have been sent: if the process dies, the task is never sent again. */
export function markSending(task: UpscaleTask, report: ReportOf<'sending'>): UpscaleTask | undefined {
  const { at, callbackTokenHash, answerBy, deadlineAt, estimatedDoneAt } = report
  if (!isWaiting(task) || at >= task.deadlineAt) return undefined
  const note = wantsQueue(task) ? 'left the queue to be sent' : `is sent to ${task.engine}`
  return record(task, report, note, {
    ...LEFT_QUEUE,
    callbackTokenHash,
    answerBy,
    deadlineAt,
    dueAt: deadlineAt,
    estimatedDoneAt,
    sentAt: at,
  })
}

/** The hash of no token. */
const NO_TOKEN = ''

/** Puts the task back into the queue: the refusal proves that nothing was charged. */
export function defer(task: UpscaleTask, report: ReportOf<'deferred'>): UpscaleTask | undefined {
  const { engine, callbackTokenHash, queueRank, queueDueAt, queueAttempts, deadlineAt, failure, note } =
    report
  const isAnswered = isWaiting(task) || task.callbackTokenHash !== callbackTokenHash
  if (task.status !== 'SUBMITTED' || isAnswered) return undefined
  return record(task, report, note, {
    engine,
    queueRank,
    queueDueAt,
    // The callback URL that another engine has got is not valid any more.
    callbackTokenHash: engine === task.engine ? callbackTokenHash : NO_TOKEN,
    queueAttempts,
    queueRefusal: failure ?? task.queueRefusal,
    answerBy: null,
    deadlineAt,
    dueAt: deadlineAt,
    sentAt: null,
    estimatedDoneAt: null,
  })
}

/** Changes the engine that the task waits for. */
export function move(task: UpscaleTask, report: ReportOf<'moved'>): UpscaleTask | undefined {
  const { engine, queueRank, queueDueAt, note } = report
  if (!isWaiting(task)) return undefined
  return record(task, report, note, { engine, queueRank, queueDueAt, callbackTokenHash: NO_TOKEN })
}

/** Only a task that waits can be withdrawn: any other may have been charged. */
export function withdraw(task: UpscaleTask, report: ReportOf<'withdrawn'>): UpscaleTask | undefined {
  return isWaiting(task) ? fail(task, report, 'REFUSAL', report) : undefined
}
