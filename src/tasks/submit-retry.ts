/** The write side of a submit: retries on a failing store. */
import type { Report } from './transitions.ts'
import { toFailure } from './failure.ts'
import type { TaskDependencies } from './ports.ts'
import { UnknownTaskError, type Reporter } from './report.ts'
import type { UpscaleTask } from './task.ts'

/** What a submit needs from the process it runs in. */
export interface SubmitLife {
  /** Ends a replay's wait for the first answer. */
  readonly ending: AbortSignal
  /** Ends the retries on a failing store. */
  readonly cut: AbortSignal
  /** Registers work that continues after the submit has been answered. */
  background(work: Promise<void>): void
}

/** One submit: its process, and its start on the monotonic clock. */
export interface SubmitRun extends SubmitLife {
  readonly startedAt: number
}

/** Keeps the lease on the answer to a submit (`answerBy`) while the paid request runs. */
export async function holdAnswer<T>(
  { store, clock, policy, log }: TaskDependencies,
  taskId: string,
  request: () => Promise<T>,
): Promise<T> {
  const { answerLeaseMs } = policy
  let timer: Disposable | undefined
  const renew = () => {
    timer = clock.after(answerLeaseMs / 3, renew)
    store.extendAnswer(taskId, clock.now() + answerLeaseMs).catch((error: unknown) => {
      log.warn({ err: error, taskId }, 'failed to renew the lease on the answer to a submit')
    })
  }
  timer = clock.after(answerLeaseMs / 3, renew)
  try {
    return await request()
  } finally {
    timer[Symbol.dispose]()
  }
}

/** How long an unconfirmed commit may take to appear in the store. */
const UNCONFIRMED_FOR_MS = 10_000

/**
 * The insert of a task was not confirmed: the row may exist, or appear shortly. Nothing was sent for it, so it is
 * settled as refused without a charge, which frees its key and picture.
 */
export async function undoInsert(
  deps: TaskDependencies,
  report: Reporter,
  id: string,
  correlationId: string,
  run: SubmitRun,
): Promise<void> {
  const { clock, log } = deps
  const failure = { ...toFailure('NOT_SENT'), correlationId }
  const note = 'not sent: the gateway could not store the task safely'
  await repeat(deps, run, async () => {
    try {
      await report(id, { kind: 'refused', at: clock.now(), source: 'SUBMIT', failure, note })
      return true
    } catch (error) {
      if (error instanceof UnknownTaskError) return clock.elapsed() >= run.startedAt + UNCONFIRMED_FOR_MS
      log.error({ err: error, taskId: id, correlationId }, 'failed to settle a task that was not sent')
      return false
    }
  })
}

/**
 * Reports the upstream's answer, and retries on a failing store until the task's deadline, because nothing else links the
 * payment to the task. Rejects to the caller after the submit timeout, while the retries continue.
 */
export function persist(
  deps: TaskDependencies,
  report: Reporter,
  task: UpscaleTask,
  answer: Report,
  run: SubmitRun,
): Promise<UpscaleTask> {
  const { clock, log, policy } = deps
  const { id } = task
  const { promise, resolve, reject } = Promise.withResolvers<UpscaleTask>()
  const attempt = async () => {
    try {
      resolve(await report(task, answer))
      return true
    } catch (error) {
      const tookMs = clock.elapsed() - run.startedAt
      const final = error instanceof UnknownTaskError || tookMs >= policy.deadlineMs || run.cut.aborted
      if (final || tookMs >= policy.submitTimeoutMs) reject(error)
      if (final) log.error({ err: error, taskId: id, answer }, "the upstream's answer was never stored")
      else log.error({ err: error, taskId: id }, "failed to store the upstream's answer; trying again")
      return final
    }
  }
  run.background(repeat(deps, run, attempt))
  return promise
}

/** The first pause between attempts on a failing store; it doubles up to the last one. Milliseconds. */
const FIRST_PAUSE_MS = 1_000
const LAST_PAUSE_MS = 30_000

/** Repeats an attempt until it succeeds, the task is past its deadline, or `cut` is aborted. */
async function repeat(
  { clock, policy }: Pick<TaskDependencies, 'clock' | 'policy'>,
  { cut, startedAt }: SubmitRun,
  attempt: () => Promise<boolean>,
): Promise<void> {
  let pauseMs = FIRST_PAUSE_MS
  const isOver = () => cut.aborted || clock.elapsed() >= startedAt + policy.deadlineMs
  while (!(await attempt()) && !isOver()) {
    const { promise, resolve } = Promise.withResolvers<void>()
    const end = () => resolve()
    cut.addEventListener('abort', end, { once: true })
    using _timer = clock.after(pauseMs, end)
    await promise
    cut.removeEventListener('abort', end)
    pauseMs = Math.min(pauseMs * 2, LAST_PAUSE_MS)
  }
}
