/** How a report changes a task: pure functions that all transitions use. */
import type { Failure } from './failure.ts'
import type { Report } from './report.ts'
import type { FailedBy, UpscaleTask } from './task.ts'

/** The interval of polls after the deadline. */
export const LATE_POLL_EVERY_MS = 3_600_000
/** How long polls continue after the deadline, unless the upstream has reported a failure. */
const LATE_POLLS_FOR_MS = 24 * 3_600_000

/**
 * When a task without a result is polled next; null: never. An unsettled task: at `proposedAt`, but no later
 * than its deadline. A task that failed without a report of the upstream: at `proposedAt`, for up to a day.
 */
export function toDueAt(task: UpscaleTask, proposedAt: number): number | null {
  if (task.images !== null) return task.dueAt
  if (task.settledAt === null) return Math.min(proposedAt, task.deadlineAt)
  const canSucceed = task.status === 'FAILED' && task.failedBy !== 'UPSTREAM' && task.upstreamTaskId !== null
  const until = Math.max(task.settledAt, task.deadlineAt) + LATE_POLLS_FOR_MS
  return canSucceed && proposedAt <= until ? proposedAt : null
}

/** The fields of a task that does not wait in the queue. */
export const LEFT_QUEUE = { queueRank: null, queueDueAt: null } as const

export function fail(
  task: UpscaleTask,
  report: Report,
  failedBy: FailedBy,
  { failure, note }: { readonly failure: Failure; readonly note: string },
): UpscaleTask {
  const upstreamTaskId = task.upstreamTaskId ?? ('upstreamTaskId' in report ? report.upstreamTaskId : null)
  const changes = { status: 'FAILED', failure, failedBy, upstreamTaskId, settledAt: report.at } as const
  const failed = advance(task, report, note, changes)
  return { ...failed, dueAt: toDueAt(failed, report.at + LATE_POLL_EVERY_MS) }
}

/**
 * A change that clients see: the version grows, the lease on the answer ends, and the task leaves the queue.
 */
export function advance(
  task: UpscaleTask,
  report: Report,
  note: string,
  changes: Partial<UpscaleTask>,
): UpscaleTask {
  const version = task.version + 1
  return record(task, report, note, {
    ...changes,
    ...LEFT_QUEUE,
    version,
    answerBy: null,
    updatedAt: report.at,
  })
}

/** Applies the changes, and appends the report to the history. */
export function record(
  task: UpscaleTask,
  { at, source, ...report }: Report,
  note: string,
  changes: Partial<UpscaleTask>,
): UpscaleTask {
  const next = { ...task, ...changes }
  const { status } = next
  const refused = report.kind === 'deferred' || status === 'FAILED'
  const upstreamCode = refused && 'failure' in report ? (report.failure?.upstreamCode ?? null) : null
  return { ...next, history: [...task.history, { at, status, source, upstreamCode, note }] }
}
