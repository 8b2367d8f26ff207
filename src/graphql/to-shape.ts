/** Core values in the shapes of the GraphQL types. */
import type { Delivery } from '../deliveries/outbox.ts'
import type { ResultLinks } from '../results/links.ts'
import { CATALOGUE, toProblem, UPSCALE_ERROR_CODES, type Problem } from '../tasks/failure.ts'
import type { TaskPosition } from '../tasks/store-port.ts'
import type { Submission } from '../tasks/submission.ts'
import {
  isWaiting,
  type PictureFacts,
  type SourceImage,
  type TaskStatus,
  type UpscaledImage,
  type UpscaleTask,
} from '../tasks/task.ts'
import { badUserInput } from './errors.ts'
import type { UpscaleErrorInfoType } from './service-types.ts'
import type { UpscaledImageType } from './image-type.ts'
import type { UpscaleImagePayloadType, UpscaleTaskConnectionType } from './payload-types.ts'
import type {
  CallbackDeliveryType,
  MidjourneyTaskType,
  UpscaleTaskEventType,
  UpscaleTaskType,
} from './types.ts'

export function toTaskShape(task: UpscaleTask): UpscaleTaskType {
  return new TaskShape(task)
}

/** Computes only the selected fields, because each event of each subscriber gets a new object. */
class TaskShape implements UpscaleTaskType {
  readonly #task: UpscaleTask
  readonly id: string
  readonly version: number
  readonly status: TaskStatus
  readonly owner: string
  readonly correlationId: string
  readonly isQueued: boolean
  readonly engine: string
  readonly creditsConsumed: number | null
  readonly imageIndex: number
  readonly waterMark: string | null

  constructor(task: UpscaleTask) {
    this.#task = task
    this.id = task.id
    this.version = task.version
    this.status = task.status
    this.owner = task.owner
    this.correlationId = task.correlationId
    this.isQueued = isWaiting(task)
    this.engine = task.engine
    this.creditsConsumed = task.creditsConsumed
    this.imageIndex = task.imageIndex
    this.waterMark = task.waterMark
  }

  get source(): MidjourneyTaskType {
    return { id: this.#task.sourceTaskId }
  }

  /** Resolved by `toImages`, which needs the links. */
  readonly images = null

  toImages(links: ResultLinks): UpscaledImageType[] | null {
    const task = this.#task
    // A result that is being inspected is not shown yet.
    if (task.status !== 'SUCCEEDED' || task.images === null) return null
    return task.images.map((image, position) => toImageShape(image, position, task, links))
  }

  get sourceImage(): SourceImage | null {
    return this.#task.sourceImage
  }

  get problem(): Problem | null {
    return this.#task.failure && toProblem(this.#task.failure, this.id)
  }

  get history(): UpscaleTaskEventType[] {
    const { history, correlationId } = this.#task
    return history.map((event) => ({ ...event, correlationId, at: new Date(event.at) }))
  }

  get createdAt(): Date {
    return new Date(this.#task.createdAt)
  }

  get updatedAt(): Date {
    return new Date(this.#task.updatedAt)
  }

  get settledAt(): Date | null {
    const { settledAt } = this.#task
    return settledAt === null ? null : new Date(settledAt)
  }

  get estimatedDoneAt(): Date | null {
    const { status, estimatedDoneAt } = this.#task
    return status !== 'PROCESSING' || estimatedDoneAt === null ? null : new Date(estimatedDoneAt)
  }

  get deadlineAt(): Date {
    return new Date(this.#task.deadlineAt)
  }
}

const NO_FACTS = {
  width: null,
  height: null,
  byteSize: null,
  contentType: null,
  sha256: null,
  thumbhash: null,
  provenance: null,
} as const satisfies Record<keyof PictureFacts, null>

function toImageShape(
  { url, expiresAt, facts, copyState }: UpscaledImage,
  position: number,
  task: UpscaleTask,
  links: ResultLinks,
): UpscaledImageType {
  const isStable = links.isStable(task, position)
  const sourceWidth = task.sourceImage?.width
  return {
    ...(facts ?? NO_FACTS),
    url: links.toUrl(task, position),
    expiresAt: isStable ? null : new Date(expiresAt),
    originalUrl: url,
    // With RESULT_STORE=off, copies are not served any more.
    copyState: copyState === 'KEPT' && !isStable ? 'OFF' : copyState,
    enlargement: facts && sourceWidth ? Math.round((facts.width / sourceWidth) * 100) / 100 : null,
  }
}

export function toPayloadShape(submission: Submission): UpscaleImagePayloadType {
  const { task, failure, replayed } = submission
  return {
    task: task && toTaskShape(task),
    problem: failure && toProblem(failure, submission.failedTaskId),
    replayed,
  }
}

export function toDeliveryShape({
  url,
  state,
  attempts,
  lastStatusCode,
  dueAt,
}: Delivery): CallbackDeliveryType {
  // The query may contain a secret of the receiver.
  const shown = new URL(url)
  shown.search = ''
  const nextAttemptAt = dueAt === null ? null : new Date(dueAt)
  return { url: shown.href, state, attempts, lastStatusCode, nextAttemptAt }
}

export function toErrorInfoShapes(): UpscaleErrorInfoType[] {
  return UPSCALE_ERROR_CODES.map((code) => {
    const { upstreamCode, description, retryable, retryAfterMs } = CATALOGUE[code]
    return { code, upstreamCode, description, retryable, retryAfterMs }
  })
}

/** A page of at most `first` tasks; `tasks` holds one more if there is a next page. */
export function toConnectionShape(
  tasks: readonly UpscaleTask[],
  first: number,
  hasPreviousPage: boolean,
): UpscaleTaskConnectionType {
  const edges = tasks.slice(0, first).map((task) => ({ node: toTaskShape(task), cursor: toCursor(task) }))
  return {
    edges,
    pageInfo: {
      hasNextPage: tasks.length > first,
      hasPreviousPage,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  }
}

function toCursor({ createdAt, id }: TaskPosition): string {
  return Buffer.from(`${createdAt}:${id}`).toString('base64url')
}

/** @throws BAD_USER_INPUT if the text is not a cursor of `toCursor`. */
export function parseCursor(cursor: string): TaskPosition {
  const [, createdAt, id] =
    /^(\d{1,15}):([\w-]{1,64})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (createdAt === undefined || id === undefined)
    throw badUserInput('after', 'after must be a cursor from upscaleTasks.')
  return { createdAt: Number(createdAt), id }
}
