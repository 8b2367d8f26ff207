import type { Delivery } from '../deliveries/outbox.ts'
import type { Failure } from '../tasks/failure.ts'
import type { SourceImage, TaskEvent, TaskStatus, UpscaledImage, UpscaleTask } from '../tasks/task.ts'

/** The tables. Columns have the names of the fields that they hold; instants are Unix milliseconds. */
export interface Database {
  task: TaskRow
  /** Which task an owner's idempotency key names. */
  idempotencyKey: { claim: string; taskId: string; until: number; requestedEngine: string | null }
  delivery: DeliveryRow
  /**
   * A stored copy. UNUSED: no task uses it, so its files are deleted; `leasedUntil`: the lease of the process
   * that does it.
   */
  copy: { sha256: string; state: 'USED' | 'UNUSED'; leasedUntil: number | null }
  /** The credits that an engine reported on a day for the tasks of an owner. They outlive the tasks. */
  usage: UsageRow
  /** Which tasks use a copy. Committed before the file is stored, so that no file is leaked. */
  copyUse: { taskId: string; sha256: string }
  /** How many tasks have a status; on SQLite only, written by triggers. */
  taskCount: { status: TaskStatus; count: number }
  /**
   * Counts of rate-limiter-flexible (on PostgreSQL), which fixes these names; and the row of the write probe.
   */
  rate_limit: { key: string; points: number; expire: number | null }
}

interface UsageRow {
  /** In UTC: `2026-01-31`. */
  day: string
  owner: string
  engine: string
  /** The number of tasks for which the engine reported credits, also 0. */
  tasks: number
  /** In the unit of the engine. */
  credits: number
}

/** A task; arrays and objects are JSON text. */
export interface TaskRow extends Omit<
  UpscaleTask,
  'images' | 'sourceImage' | 'failure' | 'queueRefusal' | 'history' | 'correlationId'
> {
  images: string | null
  sourceImage: string | null
  failure: string | null
  queueRefusal: string | null
  history: string
  /** Null: stored by a release before migration 005. */
  correlationId: string | null
  /** When `dueAt` was written. */
  scheduledAt: number
}

export interface DeliveryRow extends Delivery {
  host: string
  /** When `dueAt` and `leasedUntil` were written. */
  scheduledAt: number
}

const toJson = (value: object | null) => value && JSON.stringify(value)

export function toRow(task: UpscaleTask): TaskRow {
  const { images, sourceImage, failure, queueRefusal, history } = task
  return {
    ...task,
    images: toJson(images),
    sourceImage: toJson(sourceImage),
    failure: toJson(failure),
    queueRefusal: toJson(queueRefusal),
    history: JSON.stringify(history),
    scheduledAt: task.createdAt,
  }
}

export function toTask({
  scheduledAt: _,
  images,
  sourceImage,
  failure,
  queueRefusal,
  history,
  correlationId,
  ...task
}: TaskRow): UpscaleTask {
  return {
    ...task,
    correlationId: correlationId ?? task.id,
    images: images === null ? null : toImages(images),
    sourceImage: sourceImage === null ? null : (JSON.parse(sourceImage) as SourceImage),
    failure: failure === null ? null : (JSON.parse(failure) as Failure),
    queueRefusal: queueRefusal === null ? null : (JSON.parse(queueRefusal) as Failure),
    history: JSON.parse(history) as TaskEvent[],
  }
}

/** Images that were stored before migration 002 have neither facts nor a copy. */
function toImages(json: string): UpscaledImage[] {
  const images = JSON.parse(json) as (Pick<UpscaledImage, 'url' | 'expiresAt'> & Partial<UpscaledImage>)[]
  return images.map((image) => ({ facts: null, copyState: 'OFF', ...image }))
}

/** The columns in which two states of a task differ, with their new values. */
export function toChanges(previous: UpscaleTask, next: UpscaleTask): Partial<TaskRow> {
  const changes: Record<string, unknown> = {}
  for (const [field, value] of Object.entries(next) as [keyof UpscaleTask, unknown][])
    if (value !== previous[field])
      changes[field] = typeof value === 'object' && value !== null ? JSON.stringify(value) : value
  // Every status change adds to the history.
  if (next.dueAt !== previous.dueAt && next.dueAt !== null)
    changes.scheduledAt = next.history.at(-1)?.at ?? next.updatedAt
  return changes
}

export function toDelivery({ host: _, scheduledAt: __, ...delivery }: DeliveryRow): Delivery {
  return delivery
}
