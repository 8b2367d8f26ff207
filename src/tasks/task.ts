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
  readonly createdAt: number
  readonly updatedAt: number
  readonly settledAt: number | null
  /** When the gateway stops waiting and calls the task failed. */
  readonly deadlineAt: number
  /** When the reconciler looks after this task next; null when there is nothing left to ask. */
  readonly dueAt: number | null
  /** How often record-info has been asked about it. */
  readonly polls: number
}

/** News about a task, from whoever heard it. */
export type Report = { readonly at: number } & (
  | { readonly kind: 'accepted'; readonly upstreamTaskId: string; readonly pollAt: number }
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
    case 'refused':
      return task.status === 'SUBMITTED'
        ? fail(task, report.at, task.upstreamTaskId, report.failure, true)
        : undefined
    case 'succeeded':
      return task.status === 'SUCCEEDED' ? undefined : succeed(task, report)
    case 'failed':
      return isSettled(task) ? undefined : fail(task, report.at, report.upstreamTaskId, report.failure, false)
    case 'overdue': {
      if (isSettled(task)) return undefined
      const code = task.status === 'SUBMITTED' ? 'UPSTREAM_OUTCOME_UNKNOWN' : 'SETTLEMENT_TIMEOUT'
      const failure = { ...toFailure(code), correlationId: report.correlationId }
      return fail(task, report.at, task.upstreamTaskId, failure, false)
    }
    default:
      return report satisfies never
  }
}

function accept(
  task: UpscaleTask,
  { at, upstreamTaskId, pollAt }: Extract<Report, { kind: 'accepted' }>,
): UpscaleTask | undefined {
  if (task.status === 'SUBMITTED') {
    const dueAt = Math.min(pollAt, task.deadlineAt)
    return { ...task, version: task.version + 1, status: 'PROCESSING', upstreamTaskId, updatedAt: at, dueAt }
  }
  // A callback can overtake the answer to the submit; then only the upstream's id may still be news.
  return task.upstreamTaskId === null ? { ...task, upstreamTaskId } : undefined
}

function succeed(
  task: UpscaleTask,
  { at, upstreamTaskId, images }: Extract<Report, { kind: 'succeeded' }>,
): UpscaleTask {
  return {
    ...settle(task, at, upstreamTaskId),
    status: 'SUCCEEDED',
    images,
    failure: null,
    refused: false,
    pictureClaimUntil: Math.min(...images.map((image) => image.expiresAt)),
  }
}

function fail(
  task: UpscaleTask,
  at: number,
  upstreamTaskId: string | null,
  failure: Failure,
  refused: boolean,
): UpscaleTask {
  const free = refused && CATALOGUE[failure.code].nothingCharged
  return {
    ...settle(task, at, upstreamTaskId),
    status: 'FAILED',
    failure,
    refused,
    keyClaim: free ? null : task.keyClaim,
    pictureClaim: null,
  }
}

function settle(task: UpscaleTask, at: number, upstreamTaskId: string | null): UpscaleTask {
  return {
    ...task,
    version: task.version + 1,
    upstreamTaskId: upstreamTaskId ?? task.upstreamTaskId,
    updatedAt: at,
    settledAt: at,
    dueAt: null,
  }
}
