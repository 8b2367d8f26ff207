import { advance, fail, record, toDueAt } from './changes.ts'
import { toFailure } from './failure.ts'
import type { TaskDependencies } from './ports.ts'
import { defer, markSending, move, withdraw } from './queue/queue-transitions.ts'
import type { Report, ReportOf } from './report.ts'
import {
  isSettled,
  isWaiting,
  namesOtherUpstreamTask,
  toExpiry,
  type TaskEventSource,
  type UpscaledImage,
  type UpscaleTask,
} from './task.ts'

/**
 * The only way to change a task. Resolves to the task after the change. To save a read, pass a task that has
 * just been read instead of its id.
 */
export type Reporter = (task: string | UpscaleTask, report: Report) => Promise<UpscaleTask>

/** Thrown when a report names a task that the store does not have (any more). */
export class UnknownTaskError extends Error {
  override name = 'UnknownTaskError'
}

/**
 * Reads, applies the report, and writes if the task has not changed since; otherwise retries on the new
 * state. The loop ends, because each conflict means that another report has changed the task, and a task has
 * few changes.
 */
export function createReporter({
  store,
  log,
  deliveries,
  wakeResults,
  observer,
}: Pick<TaskDependencies, 'store' | 'log' | 'deliveries' | 'wakeResults' | 'observer'>): Reporter {
  return async (taskOrId, report) => {
    const taskId = typeof taskOrId === 'string' ? taskOrId : taskOrId.id
    // A passed task may be stale: an update then conflicts, and a report without effect is checked on a fresh
    // read.
    let passed = typeof taskOrId === 'string' ? undefined : taskOrId
    for (;;) {
      const task = passed ?? (await store.read(taskId))
      if (task === undefined) throw new UnknownTaskError(`There is no task ${taskId}`)
      const next = applyReport(task, report)
      if (next === undefined && passed === undefined) return task
      passed = undefined
      const outcome = next && (await store.update(task, next))
      if (next === undefined || outcome === 'conflict') continue
      logChange(log, task, next, report)
      if (next.status !== task.status && next.settledAt !== null)
        observer?.onSettle(next.status, toSettleSource(task, report), next.settledAt - next.createdAt)
      if (outcome === 'deliveriesDue') deliveries.wake()
      if (report.kind === 'succeeded' && next.resultDueAt !== null) wakeResults()
      return next
    }
  }
}

/** `note`: what happened, if it is an event of the history. */
function logChange(
  log: TaskDependencies['log'],
  before: UpscaleTask,
  next: UpscaleTask,
  report: Report,
): void {
  const { id: taskId, correlationId, sourceTaskId, imageIndex } = next
  const { status, version, upstreamTaskId, polls, failure } = next
  const event = next.history.at(-1)
  const picture = { sourceTaskId, imageIndex }
  const state = { status, version, upstreamTaskId, polls, failure, report: report.kind }
  const note = event === before.history.at(-1) ? undefined : event?.note
  log.info({ taskId, correlationId, ...picture, ...state, note }, 'a task changed')
}

/**
 * What brought the result of a task that this report settles: nothing but its inspection follows it in the
 * history.
 */
function toSettleSource({ history }: UpscaleTask, { source }: Report): TaskEventSource {
  if (source !== 'INSPECTION') return source
  return history.findLast((event) => event.source !== 'INSPECTION')?.source ?? source
}

/**
 * Applies a report to a task: returns its next state, or undefined if the report changes nothing (stale,
 * doubled, about another upstream task, or about a settled task). Pure. A settled task can change only from
 * FAILED to SUCCEEDED: a paid result is never discarded.
 */
export function applyReport(task: UpscaleTask, report: Report): UpscaleTask | undefined {
  const next = apply(task, report)
  return next && { ...next, revision: task.revision + 1 }
}

function apply(task: UpscaleTask, report: Report): UpscaleTask | undefined {
  switch (report.kind) {
    case 'accepted':
      return accept(task, report)
    case 'unanswered':
      return task.answerBy === null
        ? undefined
        : record(task, report, `the answer was ${report.note}`, { answerBy: null })
    case 'refused':
      return task.status === 'SUBMITTED' ? fail(task, report, 'REFUSAL', report) : undefined
    case 'succeeded':
    case 'failed': {
      const isStale = task.images !== null || namesOtherUpstreamTask(task, report.upstreamTaskId)
      if (isStale) return undefined
      return report.kind === 'succeeded' ? addResult(task, report) : failAccepted(task, report)
    }
    case 'inspected':
      return addInspection(task, report)
    case 'sending':
      return markSending(task, report)
    case 'deferred':
      return defer(task, report)
    case 'moved':
      return move(task, report)
    case 'withdrawn':
      return withdraw(task, report)
    case 'overdue':
      return isSettled(task) || task.images !== null || task.deadlineAt > report.deadlineAt
        ? undefined
        : expire(task, report)
    default:
      return report satisfies never
  }
}

function accept(task: UpscaleTask, report: ReportOf<'accepted'>): UpscaleTask | undefined {
  const { source, upstreamTaskId, pollAt } = report
  const note = 'accepted by the upscale service'
  if (task.status === 'SUBMITTED')
    return advance(task, report, note, {
      status: 'PROCESSING',
      upstreamTaskId,
      dueAt: toDueAt(task, pollAt),
    })
  // A callback can arrive before the answer to the submit. If their upstream task ids differ, the id of the
  // answer counts.
  const corrects = source === 'SUBMIT' && task.images === null && namesOtherUpstreamTask(task, upstreamTaskId)
  if (task.upstreamTaskId !== null && !corrects) return undefined
  // The upstream has accepted the task, so it may still succeed, even after a failure.
  const failedBy = task.failedBy === null ? null : 'SILENCE'
  const accepted = record(task, report, note, { upstreamTaskId, failedBy })
  return { ...accepted, dueAt: toDueAt(accepted, pollAt) }
}

/** Adds the result, which settles the task unless it is inspected first. */
function addResult(task: UpscaleTask, report: ReportOf<'succeeded'>): UpscaleTask {
  const { at, images, upstreamTaskId, inspectBy, creditsConsumed = task.creditsConsumed } = report
  const found = {
    images,
    imagesExpireAt: toExpiry(images),
    upstreamTaskId: task.upstreamTaskId ?? upstreamTaskId,
    creditsConsumed,
    resultDueAt: at,
  }
  if (inspectBy === null) {
    const succeeded = succeed({ ...task, ...found }, report)
    return isCopyPending(images) ? succeeded : { ...succeeded, resultDueAt: null }
  }
  const note = 'the result is ready; its inspection begins'
  const waiting = { ...found, dueAt: inspectBy }
  return task.status === 'SUBMITTED'
    ? advance(task, report, note, { ...waiting, status: 'PROCESSING' })
    : record(task, report, note, waiting)
}

/**
 * Adds facts and states of copies to the images. The first report settles the task; later ones change the
 * settled task.
 */
function addInspection(task: UpscaleTask, report: ReportOf<'inspected'>): UpscaleTask | undefined {
  const { images: found, retryAt, note } = report
  const isFinished = task.status === 'SUCCEEDED' && task.resultDueAt === null
  if (task.images === null || isFinished) return undefined
  const images = task.images.map((image, index) => {
    const { facts, copyState } = found.find(({ position }) => position === index) ?? image
    // KEPT is final: an attempt that has lost its lease may report late.
    return image.copyState === 'KEPT' ? image : { ...image, facts: facts ?? image.facts, copyState }
  })
  const attempts = task.resultAttempts + (retryAt === null ? 0 : 1)
  const nextAt = isCopyPending(images) ? retryAt : null
  const resultDueAt = retryAt === null ? task.resultDueAt : nextAt
  const changes = { images, imagesExpireAt: toExpiry(images), resultDueAt, resultAttempts: attempts }
  if (task.status !== 'SUCCEEDED') return succeed({ ...task, ...changes }, report, `: ${note}`)
  if (JSON.stringify(images) !== JSON.stringify(task.images)) return advance(task, report, note, changes)
  return attempts === task.resultAttempts ? undefined : { ...task, resultDueAt, resultAttempts: attempts }
}

function isCopyPending(images: readonly UpscaledImage[]): boolean {
  return images.some(({ copyState }) => copyState === 'PENDING')
}

function succeed(task: UpscaleTask, report: Report, detail = ''): UpscaleTask {
  return advance(task, report, (task.status === 'FAILED' ? 'done after all' : 'done') + detail, {
    status: 'SUCCEEDED',
    settledAt: report.at,
    failure: null,
    failedBy: null,
    dueAt: null,
  })
}

function failAccepted(task: UpscaleTask, report: ReportOf<'failed'>): UpscaleTask | undefined {
  const { failedBy, note, upstreamTaskId, creditsConsumed = task.creditsConsumed } = report
  if (!isSettled(task)) return { ...fail(task, report, failedBy, report), creditsConsumed }
  // The task keeps its first failure. The report only rules out a late success.
  if (failedBy !== 'UPSTREAM' || task.failedBy === null || task.failedBy === 'UPSTREAM') return undefined
  return record(task, report, note, { upstreamTaskId, failedBy, creditsConsumed, dueAt: null })
}

function expire(task: UpscaleTask, report: ReportOf<'overdue'>): UpscaleTask {
  if (isWaiting(task)) {
    const reason = task.queueRefusal ?? toFailure('UPSTREAM_RATE_LIMITED')
    const failure = { ...reason, correlationId: task.correlationId }
    return fail(task, report, 'REFUSAL', {
      failure,
      note: 'its turn in the queue did not come by the deadline',
    })
  }
  const code = task.status === 'SUBMITTED' ? 'UPSTREAM_OUTCOME_UNKNOWN' : 'SETTLEMENT_TIMEOUT'
  const failure = { ...toFailure(code), correlationId: task.correlationId }
  return fail(task, report, 'SILENCE', { failure, note: 'no result came by the deadline' })
}
