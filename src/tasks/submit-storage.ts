/** Keeps the link between a payment and its task when the store fails during a submit. */
import type { TaskContext } from './context.ts'
import { toFailure } from './failure.ts'
import type { UpscaleTask } from './task.ts'
import { wait } from './timing.ts'
import type { Report } from './report.ts'
import { UnknownTaskError } from './transitions.ts'

/** How long an unconfirmed commit may take to appear in the store, in milliseconds. */
const UNCONFIRMED_FOR_MS = 10_000
/** The first pause between attempts on a failing store; it doubles up to the last one. Milliseconds. */
const FIRST_PAUSE_MS = 1_000
const LAST_PAUSE_MS = 30_000

/** Renews the lease on the answer to a submit (`answerBy`) while the paid request runs. */
export async function holdLease<T>(
  { store, clock, policy: { answerLeaseMs }, log }: TaskContext,
  { id: taskId, correlationId }: UpscaleTask,
  request: () => Promise<T>,
): Promise<T> {
  const renew = () => {
    timer = clock.after(answerLeaseMs / 3, renew)
    store.extendAnswer(taskId, clock.now() + answerLeaseMs).catch((error: unknown) => {
      log.warn({ err: error, taskId, correlationId }, 'failed to renew the lease on the answer to a submit')
    })
  }
  let timer = clock.after(answerLeaseMs / 3, renew)
  try {
    return await request()
  } finally {
    timer[Symbol.dispose]()
  }
}

/**
 * Settles a task whose insert was not confirmed: its row may exist, or appear shortly. Nothing was sent for
 * the task, so it is refused without a charge, which frees its key and picture. A queued task may have been
 * sent since: then it stays.
 */
export async function settleUnconfirmedInsert(
  context: TaskContext,
  { id: taskId, queueDueAt, correlationId }: UpscaleTask,
  startedAt: number,
): Promise<void> {
  const { clock, log, report } = context
  const failure = { ...toFailure('NOT_SENT'), correlationId }
  const note = 'not sent: the gateway could not store the task safely'
  await retry(context, startedAt, async () => {
    try {
      const kind = queueDueAt === null ? 'refused' : 'withdrawn'
      await report(taskId, { kind, at: clock.now(), source: 'SUBMIT', failure, note })
      return true
    } catch (error) {
      if (error instanceof UnknownTaskError) return clock.elapsed() >= startedAt + UNCONFIRMED_FOR_MS
      log.error({ err: error, taskId, correlationId }, 'failed to settle a task that was not sent')
      return false
    }
  })
}

/**
 * Stores the upstream's answer, and retries on a failing store until the task's deadline, because nothing
 * else links the payment to the task. Rejects to the caller after the submit timeout, while the retries
 * continue.
 */
export function storeAnswer(
  context: TaskContext,
  task: UpscaleTask,
  answer: Report,
  startedAt: number,
): Promise<UpscaleTask> {
  const { clock, log, policy, report, aborting } = context
  const { promise, resolve, reject } = Promise.withResolvers<UpscaleTask>()
  const attempt = async () => {
    try {
      resolve(await report(task, answer))
      return true
    } catch (error) {
      const facts = { err: error, taskId: task.id, correlationId: task.correlationId }
      const tookMs = clock.elapsed() - startedAt
      const isFinal = error instanceof UnknownTaskError || tookMs >= policy.deadlineMs || aborting.aborted
      if (isFinal || tookMs >= policy.submitTimeoutMs) reject(error)
      if (isFinal) log.error({ ...facts, answer }, "the upstream's answer was never stored")
      else log.error(facts, "failed to store the upstream's answer; retrying")
      return isFinal
    }
  }
  void context.track(retry(context, startedAt, attempt))
  return promise
}

/** Repeats an attempt until it returns true, the task is past its deadline, or the service aborts retries. */
async function retry(
  { clock, policy, aborting }: TaskContext,
  startedAt: number,
  attempt: () => Promise<boolean>,
): Promise<void> {
  let pauseMs = FIRST_PAUSE_MS
  while (!(await attempt()) && !aborting.aborted && clock.elapsed() < startedAt + policy.deadlineMs) {
    await wait(clock, pauseMs, aborting)
    pauseMs = Math.min(pauseMs * 2, LAST_PAUSE_MS)
  }
}
