/** Sends one claimed task of the queue: first the commit that it is being sent, then the request and its answer. */
import type { TaskContext } from '../context.ts'
import type { SubmitAnswer } from '../engines/engine-ports.ts'
import type { Report } from '../report.ts'
import { sendTask } from '../send.ts'
import { storeAnswer } from '../submit-storage.ts'
import type { UpscaleTask } from '../task.ts'
import { isTemporary, toDelayMs } from './refusals.ts'

/** A task that is being sent. */
interface Sending {
  readonly task: UpscaleTask
  /** Its rank and its deadline in the queue, in case it is deferred. */
  readonly queued: { readonly queueRank: number; readonly deadlineAt: number }
  readonly token: string
  readonly startedAt: number
}

/** Commits that a claimed task is being sent. Undefined: it must not be sent, because it has left the queue or the store fails. */
export async function beginSending(context: TaskContext, claimed: UpscaleTask): Promise<Sending | undefined> {
  const { clock, secrets, policy, report, estimates, log } = context
  const { queueRank } = claimed
  if (queueRank === null) return undefined
  const queued = { queueRank, deadlineAt: claimed.deadlineAt }
  const token = secrets.newToken()
  const callbackTokenHash = secrets.digest(token)
  const startedAt = clock.elapsed()
  const runMs = await estimates.runMs()
  const at = clock.now()
  const facts = { at, source: 'SUBMIT', callbackTokenHash } as const
  try {
    const answerBy = at + policy.answerLeaseMs
    const deadlineAt = at + policy.deadlineMs
    const estimatedDoneAt = runMs === null ? null : at + runMs
    const task = await report(claimed, { ...facts, kind: 'sending', answerBy, deadlineAt, estimatedDoneAt })
    return task.callbackTokenHash === callbackTokenHash ? { task, queued, token, startedAt } : undefined
  } catch (error) {
    log.warn({ err: error, taskId: claimed.id }, 'failed to take a task out of the queue; nothing was sent')
    // The commit may have happened nevertheless.
    const back = { ...queued, queueDueAt: at, failure: null, note: 'not sent' }
    storeAnswer(context, claimed, { ...facts, kind: 'deferred', ...back }, startedAt).catch(() => undefined)
    return undefined
  }
}

/** Sends the task and stores the answer; a temporary refusal defers it. Does not reject. */
export async function finishSending(
  context: TaskContext,
  { task, queued, token, startedAt }: Sending,
  onAnswer: (answer: SubmitAnswer) => void,
): Promise<void> {
  const { clock, secrets, log } = context
  const correlationId = secrets.newId()
  const toOtherReport = async (answer: SubmitAnswer): Promise<Report | undefined> => {
    onAnswer(answer)
    if (!isTemporary(answer)) return undefined
    const at = clock.now()
    return {
      kind: 'deferred',
      at,
      source: 'SUBMIT',
      callbackTokenHash: task.callbackTokenHash,
      deadlineAt: queued.deadlineAt,
      queueRank: await readReturnRank(context, queued.queueRank),
      queueDueAt: at + toDelayMs(answer.failure, task.queueAttempts + 1),
      failure: { ...answer.failure, correlationId },
      note: `${answer.note}; it is sent again later`,
    }
  }
  try {
    await sendTask(context, task, { token, correlationId, startedAt, toOtherReport })
  } catch (error) {
    log.error(
      { err: error, taskId: task.id, correlationId },
      'the answer to a queued submit is not stored yet',
    )
  }
}

/** A deferred task has had its turn: it does not go back behind the current turn. */
async function readReturnRank({ queueStore, clock, log }: TaskContext, rank: number): Promise<number> {
  try {
    return Math.min(rank, (await queueStore.readTurn(clock.now())) ?? rank)
  } catch (error) {
    log.warn({ err: error }, 'failed to read the turn of the queue: a deferred task keeps its rank')
    return rank
  }
}
