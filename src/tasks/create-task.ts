import type { TaskContext } from './context.ts'
import type { SubmitInput } from './submit-input.ts'
import type { UpscaleTask } from './task.ts'

/** Due by the clock of any replica. */
const AT_ONCE = 0

interface NewTaskFacts {
  readonly engine: string
  readonly token: string
  /** How long it is expected to run; null: not known. */
  readonly runMs: number | null
}

/** A new task of a submit, as it is stored before the paid request. */
export function createTask(
  { clock, secrets, policy }: TaskContext,
  { owner, sourceTaskId, imageIndex, queue, ...input }: SubmitInput,
  { engine, token, runMs }: NewTaskFacts,
): UpscaleTask {
  const now = clock.now()
  const deadlineAt = now + policy.deadlineMs
  const waterMark = input.waterMark === '' ? null : input.waterMark
  return {
    id: secrets.newId(),
    version: 1,
    revision: 1,
    owner,
    correlationId: input.correlationId,
    traceparent: input.traceparent,
    status: 'SUBMITTED',
    sourceTaskId,
    imageIndex,
    waterMark,
    images: null,
    sourceImage: null,
    failure: null,
    failedBy: null,
    engine,
    requestedEngine: input.engine,
    creditsConsumed: null,
    upstreamTaskId: null,
    callbackTokenHash: secrets.digest(token),
    // JSON, so that no separator can be forged, and a missing watermark is a value like any other.
    pictureDigest: secrets.digest(JSON.stringify(['picture', owner, sourceTaskId, imageIndex, waterMark])),
    imagesExpireAt: null,
    resultDueAt: null,
    resultAttempts: 0,
    answerBy: queue ? null : now + policy.answerLeaseMs,
    // The store sets the rank.
    queueRank: null,
    queueDueAt: queue ? AT_ONCE : null,
    queueAttempts: 0,
    queueRefusal: null,
    queueAhead: null,
    sentAt: queue ? null : now,
    estimatedDoneAt: queue || runMs === null ? null : now + runMs,
    notFoundCount: 0,
    notFoundSince: null,
    createdAt: now,
    updatedAt: now,
    settledAt: null,
    deadlineAt,
    // A task cannot be polled before it is accepted, but its deadline applies.
    dueAt: deadlineAt,
    polls: 0,
    history: [{ at: now, status: 'SUBMITTED', source: 'SUBMIT', upstreamCode: null, note: 'submitted' }],
  }
}
