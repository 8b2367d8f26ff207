/** Core values in the shapes of the GraphQL types. */
import type { Delivery } from '../tasks/delivery.ts'
import { CATALOGUE, toProblem, UPSCALE_ERROR_CODES } from '../tasks/failure.ts'
import type { TaskPosition } from '../tasks/ports.ts'
import type { Submission } from '../tasks/submit.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import { badUserInput } from './errors.ts'
import type {
  CallbackDeliveryType,
  UpscaleErrorInfoType,
  UpscaleImagePayloadType,
  UpscaleTaskConnectionType,
  UpscaleTaskType,
} from './types.ts'

export function toTaskShape(task: UpscaleTask): UpscaleTaskType {
  const { id, version, status, imageIndex, waterMark, settledAt } = task
  return {
    owner: task.owner,
    id,
    version,
    status,
    source: { id: task.sourceTaskId },
    imageIndex,
    waterMark,
    images: task.images?.map(({ url, expiresAt }) => ({ url, expiresAt: new Date(expiresAt) })) ?? null,
    problem: task.failure && toProblem(task.failure, id),
    history: task.history.map((event) => ({ ...event, at: new Date(event.at) })),
    createdAt: new Date(task.createdAt),
    updatedAt: new Date(task.updatedAt),
    settledAt: settledAt === null ? null : new Date(settledAt),
    deadlineAt: new Date(task.deadlineAt),
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
  // The query may hold what only the receiver is to know.
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

/** A page of at most `first` tasks; `tasks` holds one more where there is a next page. */
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

/** @throws BAD_USER_INPUT for what `toCursor` never made. */
export function parseCursor(cursor: string): TaskPosition {
  const [, createdAt, id] =
    /^(\d{1,15}):([\w-]{1,64})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (createdAt === undefined || id === undefined)
    throw badUserInput('after', 'This cursor is not one that upscaleTasks has given.')
  return { createdAt: Number(createdAt), id }
}
