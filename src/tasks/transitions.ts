import { toFailure, type Failure } from './failure.ts'
import {
  isOther,
  isSettled,
  type FailedBy,
  type TaskEvent,
  type TaskEventSource,
  type UpscaledImage,
  type UpscaleTask,
} from './task.ts'

/** New information about a task, its time and source. `note` is a readable text for the task's history. */
export type Report = { readonly at: number; readonly source: TaskEventSource } & (
  | { readonly kind: 'accepted'; readonly upstreamTaskId: string; readonly pollAt: number }
  | { readonly kind: 'unanswered'; readonly note: string }
  | { readonly kind: 'refused'; readonly failure: Failure; readonly note: string }
  | { readonly kind: 'succeeded'; readonly upstreamTaskId: string; readonly images: readonly UpscaledImage[] }
  | {
      readonly kind: 'failed'
      readonly upstreamTaskId: string
      readonly failure: Failure
      /** UPSTREAM: the upstream reported the failure of this task, which is final. SILENCE: a late success still counts. */
      readonly failedBy: 'UPSTREAM' | 'SILENCE'
      readonly note: string
    }
  | { readonly kind: 'overdue'; readonly correlationId: string }
)

/**
 * Applies a report to a task: returns its next state, or undefined if the report changes nothing (stale, doubled, about
 * another upstream task, or about a settled task). Pure. A settled task can change only from FAILED to SUCCEEDED: a paid
 * result is never thrown away.
 */
export function applyReport(task: UpscaleTask, report: Report): UpscaleTask | undefined {
  switch (report.kind) {
    case 'accepted':
      return accept(task, report)
    case 'unanswered':
      return task.answerBy === null
        ? undefined
        : { ...task, answerBy: null, history: record(task, report, `the answer was ${report.note}`) }
    case 'refused':
      return task.status === 'SUBMITTED'
        ? fail(task, report, report.failure, 'REFUSAL', report.note)
        : undefined
    case 'succeeded':
      return task.status === 'SUCCEEDED' || isOther(task, report) ? undefined : succeed(task, report)
    case 'failed':
      return isOther(task, report) ? undefined : failAccepted(task, report)
    case 'overdue':
      return isSettled(task) ? undefined : expire(task, report)
    default:
      return report satisfies never
  }
}

/** The interval of polls after the deadline … */
export const LATE_POLL_EVERY_MS = 3_600_000
/** … and for how long they continue, unless the upstream has reported a failure. */
const LATE_POLLS_FOR_MS = 24 * 3_600_000

/**
 * When a task is polled next, given the wished instant. Before it settles: then, but no later than its deadline, for a last
 * poll. After a failure that the upstream has not reported: then, for up to a day. Otherwise never (null).
 */
export function toDueAt(task: UpscaleTask, wishedAt: number): number | null {
  if (task.settledAt === null) return Math.min(wishedAt, task.deadlineAt)
  const open = task.status === 'FAILED' && task.failedBy !== 'UPSTREAM' && task.upstreamTaskId !== null
  const until = Math.max(task.settledAt, task.deadlineAt) + LATE_POLLS_FOR_MS
  return open && wishedAt <= until ? wishedAt : null
}

type ReportOf<Kind extends Report['kind']> = Extract<Report, { kind: Kind }>

function accept(task: UpscaleTask, report: ReportOf<'accepted'>): UpscaleTask | undefined {
  const { at, source, upstreamTaskId, pollAt } = report
  const note = 'accepted by the upscale service'
  if (task.status === 'SUBMITTED')
    return {
      ...task,
      version: task.version + 1,
      status: 'PROCESSING',
      upstreamTaskId,
      answerBy: null,
      updatedAt: at,
      dueAt: toDueAt(task, pollAt),
      history: record({ ...task, status: 'PROCESSING' }, report, note),
    }
  // A callback can overtake the answer to the submit. Where the two name different tasks the answer is
  // right, and what the callback said was said of another task.
  const corrects = source === 'SUBMIT' && task.status !== 'SUCCEEDED' && isOther(task, report)
  if (task.upstreamTaskId !== null && !corrects) return undefined
  // However it has failed: it was accepted after all, and may yet succeed.
  const failedBy: FailedBy | null = task.failedBy === null ? null : 'SILENCE'
  const known = { ...task, upstreamTaskId, failedBy, history: record(task, report, note) }
  return { ...known, dueAt: toDueAt(known, pollAt) }
}

function succeed(task: UpscaleTask, report: ReportOf<'succeeded'>): UpscaleTask {
  const { images, upstreamTaskId } = report
  const note = task.status === 'FAILED' ? 'done after all' : 'done'
  return {
    ...settle(
      { ...task, status: 'SUCCEEDED', upstreamTaskId: task.upstreamTaskId ?? upstreamTaskId },
      report,
      note,
    ),
    images,
    failure: null,
    failedBy: null,
    dueAt: null,
    imagesExpireAt: Math.min(...images.map((image) => image.expiresAt)),
  }
}

function failAccepted(task: UpscaleTask, report: ReportOf<'failed'>): UpscaleTask | undefined {
  const { failure, failedBy, note, upstreamTaskId } = report
  if (!isSettled(task)) return fail(task, report, failure, failedBy, note)
  // It failed before for another reason, which stands. New is only that no late success will come.
  if (failedBy !== 'UPSTREAM' || task.failedBy === null || task.failedBy === 'UPSTREAM') return undefined
  return { ...task, upstreamTaskId, failedBy, dueAt: null, history: record(task, report, note) }
}

function expire(task: UpscaleTask, report: ReportOf<'overdue'>): UpscaleTask {
  const code = task.status === 'SUBMITTED' ? 'UPSTREAM_OUTCOME_UNKNOWN' : 'SETTLEMENT_TIMEOUT'
  const failure = { ...toFailure(code), correlationId: report.correlationId }
  return fail(task, report, failure, 'SILENCE', 'no result came by the deadline')
}

function fail(
  task: UpscaleTask,
  report: Report,
  failure: Failure,
  failedBy: FailedBy,
  note: string,
): UpscaleTask {
  const upstreamTaskId = task.upstreamTaskId ?? ('upstreamTaskId' in report ? report.upstreamTaskId : null)
  const failed = settle({ ...task, status: 'FAILED', failure, failedBy, upstreamTaskId }, report, note)
  return { ...failed, dueAt: toDueAt(failed, report.at + LATE_POLL_EVERY_MS) }
}

function settle(task: UpscaleTask, report: Report, note: string): UpscaleTask {
  return {
    ...task,
    version: task.version + 1,
    answerBy: null,
    updatedAt: report.at,
    settledAt: report.at,
    history: record(task, report, note),
  }
}

/** The history with this report at its end; `task` has the status that the report leads to. */
function record(task: UpscaleTask, { at, source, ...report }: Report, note: string): readonly TaskEvent[] {
  const failed = task.status === 'FAILED'
  const upstreamCode = failed && 'failure' in report ? report.failure.upstreamCode : null
  return [...task.history, { at, status: task.status, source, upstreamCode, note }]
}
