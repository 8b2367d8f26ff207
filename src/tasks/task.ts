/**
 * An UpscaleTask is plain data with a version, and `applyReport` is the one function that decides how it
 * moves on. Instants are Unix milliseconds.
 *
 * - *Source task*: the Midjourney generation task whose picture is enlarged.
 * - *Upstream task*: the vendor's task that does the work.
 * - *Settle*: to reach SUCCEEDED or FAILED.
 * - *Owner*: the authenticated subject a task belongs to.
 */
import { CATALOGUE, toFailure, type Failure } from './failure.ts'

/**
 * SUBMITTED: stored, acceptance not known (yet). PROCESSING: accepted by the upstream.
 * SUCCEEDED and FAILED: settled.
 */
export const TASK_STATUSES = ['SUBMITTED', 'PROCESSING', 'SUCCEEDED', 'FAILED'] as const
export type TaskStatus = (typeof TASK_STATUSES)[number]

/** One enlarged picture. */
export interface UpscaledImage {
  /** Absolute http(s) URL at the vendor's. */
  readonly url: string
  /** When the vendor is expected to drop it: an estimate. */
  readonly expiresAt: number
}

/** Who brought the news that moved a task. */
export const TASK_EVENT_SOURCES = ['SUBMIT', 'CALLBACK', 'POLL', 'DEADLINE'] as const
export type TaskEventSource = (typeof TASK_EVENT_SOURCES)[number]

/** An entry of a task's history: what became of it, when, and on whose word. */
export interface TaskEvent {
  readonly at: number
  /** The status from then on. */
  readonly status: TaskStatus
  readonly source: TaskEventSource
  /** The vendor's number, where it gave one for a failure. */
  readonly upstreamCode: number | null
  /** What happened, for a person. */
  readonly note: string
}

/** What is to be enlarged: the same three values are the same picture. */
export interface Picture {
  readonly sourceTaskId: string
  /** 0–3: which of the source task's four pictures. */
  readonly imageIndex: number
  readonly waterMark: string | null
}

export interface UpscaleTask extends Picture {
  readonly id: string
  /** Grows by one whenever status, images or failure change, and only then. */
  readonly version: number
  readonly owner: string
  readonly status: TaskStatus
  /** Null until SUCCEEDED. */
  readonly images: readonly UpscaledImage[] | null
  /** Null unless FAILED. */
  readonly failure: Failure | null
  /** True when the failure was the upstream's answer to the submit: such a task was never accepted. */
  readonly refused: boolean
  readonly upstreamTaskId: string | null
  /** Hash of the secret in the callback URL; the secret itself is not kept. */
  readonly callbackTokenHash: string
  /** Holds the owner's idempotency key; null once it is free again. */
  readonly keyClaim: string | null
  /** When the key is free in any case; null when there is none. */
  readonly keyClaimUntil: number | null
  /** Holds the picture against a second, paid, identical request; null once it is free again. */
  readonly pictureClaim: string | null
  /** When the picture claim ends by itself: with the images. Null while there are none. */
  readonly pictureClaimUntil: number | null
  /** Until when the answer to the submit may still come; null once it came or is known to be lost. */
  readonly answerBy: number | null
  readonly createdAt: number
  readonly updatedAt: number
  readonly settledAt: number | null
  /** When the gateway stops waiting and calls the task failed. */
  readonly deadlineAt: number
  /** When the upstream is asked about it next; null when there is nothing to ask. */
  readonly dueAt: number | null
  /** How often the upstream has been asked about it by the schedule. */
  readonly polls: number
  /** Everything that happened to it, oldest first. Kept with the state, so that the two cannot disagree. */
  readonly history: readonly TaskEvent[]
}

/** News about a task, from whoever heard it. */
export type Report = { readonly at: number; readonly source: TaskEventSource } & (
  | { readonly kind: 'accepted'; readonly upstreamTaskId: string; readonly pollAt: number }
  | { readonly kind: 'unanswered' }
  | { readonly kind: 'refused'; readonly failure: Failure }
  | { readonly kind: 'succeeded'; readonly upstreamTaskId: string; readonly images: readonly UpscaledImage[] }
  | { readonly kind: 'failed'; readonly upstreamTaskId: string; readonly failure: Failure }
  | { readonly kind: 'overdue'; readonly correlationId: string }
)

export function isSettled(task: UpscaleTask): boolean {
  return task.status === 'SUCCEEDED' || task.status === 'FAILED'
}

/**
 * Decides what a report makes of a task: its next state, or undefined when the report changes nothing
 * (stale, doubled, or about a task that is settled). Pure. A settled task moves once more only from
 * FAILED to SUCCEEDED, because a paid result is not thrown away.
 */
export function applyReport(task: UpscaleTask, report: Report): UpscaleTask | undefined {
  switch (report.kind) {
    case 'accepted':
      return accept(task, report)
    case 'unanswered':
      return task.answerBy === null
        ? undefined
        : {
            ...task,
            answerBy: null,
            history: record(task, report, 'the answer of the upscale service was lost'),
          }
    case 'refused':
      return task.status === 'SUBMITTED' ? refuse(task, report) : undefined
    case 'succeeded':
      return task.status === 'SUCCEEDED' ? undefined : succeed(task, report)
    case 'failed':
      return isSettled(task) ? undefined : fail(task, report, report.failure, 'the upscale failed')
    case 'overdue':
      return isSettled(task) ? undefined : expire(task, report)
    default:
      return report satisfies never
  }
}

/** The last look at the upstream before the deadline is taken this much ahead of it. */
const LAST_LOOK_MS = 5_000
/** After a deadline failure the upstream is asked once in this time … */
const LATE_POLL_EVERY_MS = 3_600_000
/** … for so long. */
const LATE_POLL_FOR_MS = 24 * 3_600_000

/**
 * When the upstream is asked next, given when one would like to. Until the deadline: then, but not without
 * a last look before it. After a deadline failure: hourly for a day. Else never.
 */
export function toDueAt(task: UpscaleTask, at: number, wishedAt: number): number | null {
  if (!isSettled(task)) {
    const lastLookAt = task.deadlineAt - LAST_LOOK_MS
    return at < lastLookAt ? Math.min(wishedAt, lastLookAt) : Math.max(wishedAt, task.deadlineAt)
  }
  const late =
    task.failure?.code === 'SETTLEMENT_TIMEOUT' || task.failure?.code === 'UPSTREAM_OUTCOME_UNKNOWN'
  const nextAt = at + LATE_POLL_EVERY_MS
  const open = late && task.upstreamTaskId !== null && nextAt <= task.deadlineAt + LATE_POLL_FOR_MS
  return open ? nextAt : null
}

type ReportOf<Kind extends Report['kind']> = Extract<Report, { kind: Kind }>

function accept(task: UpscaleTask, report: ReportOf<'accepted'>): UpscaleTask | undefined {
  const { at, upstreamTaskId, pollAt } = report
  if (task.status === 'SUBMITTED')
    return {
      ...task,
      version: task.version + 1,
      status: 'PROCESSING',
      upstreamTaskId,
      answerBy: null,
      updatedAt: at,
      dueAt: toDueAt(task, at, pollAt),
      history: record({ ...task, status: 'PROCESSING' }, report, 'accepted by the upscale service'),
    }
  // A callback can overtake the answer to the submit; then only the upstream's id may still be news.
  if (task.upstreamTaskId !== null) return undefined
  const known = { ...task, upstreamTaskId }
  return { ...known, dueAt: isSettled(known) ? toDueAt(known, at, pollAt) : known.dueAt }
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
    refused: false,
    dueAt: null,
    pictureClaimUntil: Math.min(...images.map((image) => image.expiresAt)),
  }
}

function refuse(task: UpscaleTask, report: ReportOf<'refused'>): UpscaleTask {
  const refused = { ...fail(task, report, report.failure, 'refused by the upscale service'), refused: true }
  return CATALOGUE[report.failure.code].nothingCharged ? { ...refused, keyClaim: null } : refused
}

function expire(task: UpscaleTask, report: ReportOf<'overdue'>): UpscaleTask {
  const code = task.status === 'SUBMITTED' ? 'UPSTREAM_OUTCOME_UNKNOWN' : 'SETTLEMENT_TIMEOUT'
  const failure = { ...toFailure(code), correlationId: report.correlationId }
  return fail(task, report, failure, 'nothing was heard by the deadline')
}

function fail(task: UpscaleTask, report: Report, failure: Failure, note: string): UpscaleTask {
  const upstreamTaskId = task.upstreamTaskId ?? ('upstreamTaskId' in report ? report.upstreamTaskId : null)
  const failed = settle({ ...task, status: 'FAILED', failure, upstreamTaskId }, report, note)
  return { ...failed, pictureClaim: null, dueAt: toDueAt(failed, report.at, report.at) }
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
