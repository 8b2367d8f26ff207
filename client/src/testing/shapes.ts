/** Tasks and other values as complete objects of the schema: a selection picks from them. */
import { CATALOGUE } from './catalogue.ts'
import { drawSource, drawUpscaled } from './pictures.ts'
import type { Cause } from './scenario.ts'
import { isSettled, isWaiting, type ScriptedTask } from './task.ts'
import type { Submission } from './tasks.ts'

export const ENGINE = 'kie-midjourney'

/** An object of the schema. `__typename` names its type. */
export interface Shape {
  readonly __typename: string
  readonly [field: string]: unknown
}

export interface ProblemShape extends Shape {
  readonly code: string
  readonly message: string
}

const toIso = (at: number | null) => (at === null ? null : new Date(at).toISOString())

function toProblemShape(
  { code, upstreamCode, retryAfterMs }: Cause,
  taskId: string | null,
  correlationId: string,
): ProblemShape {
  const entry = CATALOGUE.find((each) => each.code === code)
  return {
    __typename: 'UpscaleProblem',
    code,
    message: entry?.description ?? '',
    retryable: entry?.retryable ?? false,
    retryAfterMs,
    upstreamCode,
    taskId,
    correlationId,
  }
}

/** `position`: its place in the queue, read only if it waits there. */
export function toTaskShape(task: ScriptedTask, position: () => number): Shape {
  const { id, version, status, correlationId, failure } = task
  return {
    __typename: 'UpscaleTask',
    id,
    version,
    status,
    correlationId,
    source: { __typename: 'MidjourneyTask', id: task.taskId },
    imageIndex: task.imageIndex,
    waterMark: task.waterMark,
    engine: ENGINE,
    creditsConsumed: null,
    images: status === 'SUCCEEDED' ? [toImageShape(task)] : null,
    sourceImage: toSourceImageShape(task.taskId, task.imageIndex),
    problem: failure && toProblemShape(failure, id, correlationId),
    history: task.history.map((event) => ({
      __typename: 'UpscaleTaskEvent',
      ...event,
      at: toIso(event.at),
      correlationId,
    })),
    createdAt: toIso(task.createdAt),
    updatedAt: toIso(task.updatedAt),
    settledAt: toIso(task.settledAt),
    deadlineAt: toIso(task.deadlineAt),
    estimatedDoneAt: status === 'PROCESSING' ? toIso(task.estimatedDoneAt) : null,
    queue: isWaiting(task)
      ? { __typename: 'UpscaleQueuePlace', position: position(), estimatedStartAt: null }
      : null,
    callbacks: [...task.callBackUrls].map((url) => toDeliveryShape(url, isSettled(task))),
  }
}

function toImageShape(task: ScriptedTask): Shape {
  const { url, ...facts } = drawUpscaled(task)
  return {
    __typename: 'UpscaledImage',
    url,
    originalUrl: url,
    expiresAt: null,
    copyState: 'KEPT',
    contentType: 'image/svg+xml',
    enlargement: 4,
    provenance: 'NONE',
    ...facts,
  }
}

export function toSourceImageShape(taskId: string, imageIndex: number): Shape {
  const { url, width, height, thumbhash } = drawSource(taskId, imageIndex)
  return { __typename: 'SourceImage', url, width, height, thumbhash }
}

function toDeliveryShape(url: string, isDelivered: boolean): Shape {
  return {
    __typename: 'CallbackDelivery',
    url: url.replace(/\?.*$/, ''),
    state: isDelivered ? 'DELIVERED' : 'PENDING',
    attempts: isDelivered ? 1 : 0,
    lastStatusCode: isDelivered ? 200 : null,
    nextAttemptAt: null,
  }
}

export function toErrorInfoShapes(): Shape[] {
  return CATALOGUE.map(({ code, upstreamCode, description, retryable, retryAfterMs }) => ({
    __typename: 'UpscaleErrorInfo',
    code,
    upstreamCode,
    description,
    retryable,
    retryAfterMs,
  }))
}

/** `count`: how many tasks have been submitted; each costs a credit. */
export function toServiceShape(count: number): Shape {
  const account = { mode: 'SANDBOX', credits: 1_000 - count, rate: null }
  const engine = { __typename: 'UpscaleEngine', name: ENGINE, available: true, ...account }
  return { __typename: 'UpscaleService', ...account, engines: [engine], usage: [] }
}

/** `toShape`: the shape of its task. */
export function toPayloadShape(
  submission: Submission,
  correlationId: string,
  toShape: (task: ScriptedTask) => Shape,
): Shape {
  const { task, replayed } = submission
  const failed = task === null ? submission.failedTask : null
  return {
    __typename: 'UpscaleImagePayload',
    task: task && toShape(task),
    problem:
      task === null
        ? toProblemShape(submission.refusal, failed?.id ?? null, failed?.correlationId ?? correlationId)
        : null,
    replayed,
    watchToken: task && `watch-${task.id}`,
  }
}

export function toConnectionShape(
  page: readonly Shape[],
  hasNextPage: boolean,
  hasPreviousPage: boolean,
): Shape {
  const edges = page.map((node) => ({ __typename: 'UpscaleTaskEdge', node, cursor: node.id }))
  return {
    __typename: 'UpscaleTaskConnection',
    edges,
    pageInfo: {
      __typename: 'PageInfo',
      hasNextPage,
      hasPreviousPage,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  }
}
