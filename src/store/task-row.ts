import type { Selectable } from 'kysely'
import type { Failure } from '../tasks/failure.ts'
import type { TaskEvent, UpscaledImage, UpscaleTask } from '../tasks/task.ts'
import type { TaskRow } from './schema.ts'

/** Where each field of a task is kept. What is no plain value is kept as JSON. */
const COLUMNS: Readonly<Record<keyof UpscaleTask, keyof TaskRow>> = {
  id: 'id',
  version: 'version',
  owner: 'owner',
  status: 'status',
  sourceTaskId: 'source_task_id',
  imageIndex: 'image_index',
  waterMark: 'water_mark',
  images: 'images',
  failure: 'failure',
  failedBy: 'failed_by',
  upstreamTaskId: 'upstream_task_id',
  callbackTokenHash: 'callback_token_hash',
  pictureDigest: 'picture_digest',
  imagesExpireAt: 'images_expire_at',
  answerBy: 'answer_by',
  createdAt: 'created_at',
  updatedAt: 'updated_at',
  settledAt: 'settled_at',
  deadlineAt: 'deadline_at',
  dueAt: 'due_at',
  polls: 'polls',
  history: 'history',
}
const FIELDS = Object.keys(COLUMNS) as (keyof UpscaleTask)[]

/** A task as its row. */
export function toRow(task: UpscaleTask): TaskRow {
  return toColumns(task, FIELDS) as TaskRow
}

/** What has to be written where one state of a task is to take the place of another. */
export function toChanges(previous: UpscaleTask, next: UpscaleTask): Partial<TaskRow> {
  return toColumns(
    next,
    FIELDS.filter((field) => next[field] !== previous[field]),
  )
}

function toColumns(task: UpscaleTask, fields: readonly (keyof UpscaleTask)[]): Partial<TaskRow> {
  const columns: Record<string, string | number | null> = {}
  for (const field of fields) {
    const value = task[field]
    columns[COLUMNS[field]] = typeof value === 'object' && value !== null ? JSON.stringify(value) : value
  }
  return columns
}

/** A row as the task it holds. */
export function toTask(row: Selectable<TaskRow>): UpscaleTask {
  return {
    id: row.id,
    version: row.version,
    owner: row.owner,
    status: row.status,
    sourceTaskId: row.source_task_id,
    imageIndex: row.image_index,
    waterMark: row.water_mark,
    images: row.images === null ? null : (JSON.parse(row.images) as UpscaledImage[]),
    failure: row.failure === null ? null : (JSON.parse(row.failure) as Failure),
    failedBy: row.failed_by,
    upstreamTaskId: row.upstream_task_id,
    callbackTokenHash: row.callback_token_hash,
    pictureDigest: row.picture_digest,
    imagesExpireAt: row.images_expire_at,
    answerBy: row.answer_by,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    settledAt: row.settled_at,
    deadlineAt: row.deadline_at,
    dueAt: row.due_at,
    polls: row.polls,
    history: JSON.parse(row.history) as TaskEvent[],
  }
}
