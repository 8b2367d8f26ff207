/**
 * An UpscaleTask is plain data with a version; transitions.ts decides how it changes. Instants are Unix
 * milliseconds.
 *
 * - *Source task*: the Midjourney generation task whose picture is enlarged.
 * - *Upstream task*: the upstream's task that does the work.
 * - *Settle*: to reach SUCCEEDED or FAILED.
 * - *Owner*: the authenticated subject a task belongs to.
 */
import { CATALOGUE, type Failure } from './failure.ts'

/**
 * SUBMITTED: stored; it is not known whether the upstream accepted it. PROCESSING: accepted by the upstream.
 * SUCCEEDED and FAILED: settled.
 */
export const TASK_STATUSES = ['SUBMITTED', 'PROCESSING', 'SUCCEEDED', 'FAILED'] as const
export type TaskStatus = (typeof TASK_STATUSES)[number]

/** One enlarged picture. */
export interface UpscaledImage {
  /** Absolute http(s) URL on the upstream's server. */
  readonly url: string
  /** When the upstream is expected to delete it: an estimate. */
  readonly expiresAt: number
  /** Measured from the picture's bytes; null: not measured. */
  readonly facts: PictureFacts | null
  readonly copyState: CopyState
}

/**
 * The state of our copy of a picture. PENDING: not stored yet. KEPT: stored. LOST: not stored before the
 * upstream's URL expired, or impossible. OFF: copies are not configured.
 */
export const COPY_STATES = ['PENDING', 'KEPT', 'LOST', 'OFF'] as const
export type CopyState = (typeof COPY_STATES)[number]

/**
 * Whether a picture contains a C2PA manifest store (Content Credentials). PRESENT says nothing about its
 * validity.
 */
export const PROVENANCES = ['NONE', 'PRESENT'] as const
export type Provenance = (typeof PROVENANCES)[number]

/** Facts about a picture, measured from its bytes. */
export interface PictureFacts {
  /** In pixels, as displayed: after the rotation that EXIF states. Of an animation: one frame. */
  readonly width: number
  readonly height: number
  readonly byteSize: number
  /** `image/png`, `image/jpeg`, `image/webp`, `image/avif`, `image/gif` or `image/tiff`. */
  readonly contentType: string
  /** In hexadecimal, lower case. */
  readonly sha256: string
  /** A placeholder of about 25 bytes (https://evanw.github.io/thumbhash/), in Base64. */
  readonly thumbhash: string
  /** Null: not known for this content type. */
  readonly provenance: Provenance | null
}

/** The source of a status change. */
export const TASK_EVENT_SOURCES = ['SUBMIT', 'CALLBACK', 'POLL', 'DEADLINE', 'INSPECTION', 'OWNER'] as const
export type TaskEventSource = (typeof TASK_EVENT_SOURCES)[number]

/**
 * Why a task has failed. REFUSAL: the answer to the submit refused it, or it left the queue without being
 * sent. UPSTREAM: the upstream reported the failure of an accepted task; this is final. SILENCE: no result
 * came; it may still succeed.
 */
export type FailedBy = 'REFUSAL' | 'UPSTREAM' | 'SILENCE'

/** An entry of a task's history: the status, its time and source. */
export interface TaskEvent {
  readonly at: number
  /** The status after this event. */
  readonly status: TaskStatus
  readonly source: TaskEventSource
  /** The upstream's code of a failure. */
  readonly upstreamCode: number | null
  /** A readable description. */
  readonly note: string
}

/** The picture to enlarge. Equal values mean the same picture. */
export interface Picture {
  readonly sourceTaskId: string
  /** 0–3: which of the source task's four pictures. */
  readonly imageIndex: number
  readonly waterMark: string | null
}

/** The picture that is upscaled, on the upstream's server. */
export interface SourceImage {
  /** Absolute http(s) URL on the upstream's server. */
  readonly url: string
  /** Measured from the picture's bytes; null: it could not be measured. */
  readonly width: number | null
  readonly height: number | null
  readonly thumbhash: string | null
}

export interface UpscaleTask extends Picture {
  readonly id: string
  /** Grows by one whenever status, failure or the images that clients see change, and only then. */
  readonly version: number
  /** Grows by one with every report that changes the task, even if clients see no change. */
  readonly revision: number
  readonly owner: string
  /** In every log line and failure of the task: the correlation id of the operation that submitted it. */
  readonly correlationId: string
  /** The trace of that operation (W3C Trace Context); null: it had none. */
  readonly traceparent: string | null
  readonly status: TaskStatus
  /**
   * The result; null until the upstream has reported it. Clients see it once SUCCEEDED, after its inspection.
   */
  readonly images: readonly UpscaledImage[] | null
  /** Null: not known, or not yet. */
  readonly sourceImage: SourceImage | null
  /** Null unless FAILED. */
  readonly failure: Failure | null
  /** Null unless FAILED. */
  readonly failedBy: FailedBy | null
  /** The engine that the task is sent to, or waits for, by its name in ENGINES. */
  readonly engine: string
  /** The engine that the caller has named; null: the gateway chooses. */
  readonly requestedEngine: string | null
  /** The credits that the task cost, in the unit of its engine; null: not reported (yet). */
  readonly creditsConsumed: number | null
  readonly upstreamTaskId: string | null
  /** Hash of the secret in the callback URL; the secret itself is not kept. */
  readonly callbackTokenHash: string
  /** A digest of owner and picture: equal digests mean the same picture. */
  readonly pictureDigest: string
  /** When the first image without a copy expires; null: none does, or there are no images. */
  readonly imagesExpireAt: number | null
  /**
   * When the next attempt to inspect and copy its images is due, or the lease of the running one ends; null:
   * never.
   */
  readonly resultDueAt: number | null
  /** How many of these attempts have ended. */
  readonly resultAttempts: number
  /**
   * When the lease on the answer to the submit ends. The process that waits for the answer renews the lease.
   * Null once the answer has arrived or is lost.
   */
  readonly answerBy: number | null
  /** Orders the queue: the lowest rank is sent first. Null: the task does not wait in the queue. */
  readonly queueRank: number | null
  /**
   * When the queue may send the task, or the lease of the process that is about to send it ends; null: it
   * does not wait.
   */
  readonly queueDueAt: number | null
  /** How often a temporary refusal has put it back into the queue. */
  readonly queueAttempts: number
  /** The latest of these refusals; null: none. */
  readonly queueRefusal: Failure | null
  /** How many tasks were ahead when it was queued; null: it was never queued. */
  readonly queueAhead: number | null
  /** When the paid request was sent; null: not yet. */
  readonly sentAt: number | null
  /** By when nine in ten tasks settle, estimated when it was sent; null: not estimated. */
  readonly estimatedDoneAt: number | null
  readonly createdAt: number
  readonly updatedAt: number
  readonly settledAt: number | null
  /** When the gateway stops waiting, and fails the task. */
  readonly deadlineAt: number
  /** When the task is polled next, or the deadline of its inspection; null: neither. */
  readonly dueAt: number | null
  /** How many scheduled polls have been made. */
  readonly polls: number
  /** How many polls in a row the upstream has answered with "unknown task", after the grace period. */
  readonly notFoundCount: number
  /** When the first of those answers came; null when `notFoundCount` is 0. */
  readonly notFoundSince: number | null
  /** Oldest first. Stored with the state, so that the two cannot disagree. */
  readonly history: readonly TaskEvent[]
}

/** Whether the task has another upstream task id than this one. */
export function namesOtherUpstreamTask(task: UpscaleTask, upstreamTaskId: string): boolean {
  return task.upstreamTaskId !== null && task.upstreamTaskId !== upstreamTaskId
}

/** When the first image without a copy expires; null: none does. */
export function toExpiry(images: readonly UpscaledImage[]): number | null {
  const expiring = images.filter(({ copyState }) => copyState !== 'KEPT')
  return expiring.length === 0 ? null : Math.min(...expiring.map(({ expiresAt }) => expiresAt))
}

/**
 * Whether the task waits in the queue: the paid request has not been sent. The rank alone does not tell,
 * because a replica of a release without the queue keeps the rank of a task that it settles.
 */
export function isWaiting({ queueRank, status }: UpscaleTask): boolean {
  return queueRank !== null && status === 'SUBMITTED'
}

/** Whether the caller lets the task wait in the queue, until its engine takes it. */
export function wantsQueue({ queueAhead }: UpscaleTask): boolean {
  return queueAhead !== null
}

export function isSettled(task: UpscaleTask): boolean {
  return task.status === 'SUCCEEDED' || task.status === 'FAILED'
}

/**
 * Whether a refusal proves that nothing was charged: the idempotency keys that name the task are then free.
 */
export function isUncharged({ failedBy, failure }: UpscaleTask): boolean {
  if (failedBy !== 'REFUSAL' || failure === null) return false
  return failure.nothingCharged === true || CATALOGUE[failure.code].nothingCharged
}
