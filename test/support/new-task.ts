import { randomUUID } from 'node:crypto'
import type { UpscaleTask } from '../../src/tasks/task.ts'

export const NOT_QUEUED = {
  queueRank: null,
  queueDueAt: null,
  queueAttempts: 0,
  queueRefusal: null,
  queueAhead: null,
  sentAt: null,
  estimatedDoneAt: null,
} as const satisfies Partial<UpscaleTask>

/** A task as it is stored before the upstream is called, unlike any other unless told. */
export function newTask(changes: Partial<UpscaleTask> = {}): UpscaleTask {
  const id = randomUUID()
  return {
    id,
    version: 1,
    revision: 1,
    owner: 'owner',
    correlationId: `correlation ${id}`,
    traceparent: null,
    status: 'SUBMITTED',
    sourceTaskId: 'source',
    imageIndex: 0,
    waterMark: null,
    images: null,
    sourceImage: null,
    failure: null,
    failedBy: null,
    engine: 'kie-midjourney',
    requestedEngine: null,
    creditsConsumed: null,
    upstreamTaskId: null,
    callbackTokenHash: 'hash',
    pictureDigest: `picture ${id}`,
    imagesExpireAt: null,
    resultDueAt: null,
    resultAttempts: 0,
    answerBy: null,
    ...NOT_QUEUED,
    createdAt: 1_000,
    updatedAt: 1_000,
    settledAt: null,
    deadlineAt: 1_801_000,
    dueAt: null,
    polls: 0,
    notFoundCount: 0,
    notFoundSince: null,
    history: [],
    ...changes,
  }
}

/** The places of tasks that never wait in the queue. */
export const NO_PLACES = { follow: () => ({ [Symbol.dispose]: () => undefined }) }
