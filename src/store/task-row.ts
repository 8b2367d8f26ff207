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
  notFoundCount: 'absences',
  notFoundSince: 'absent_since',
  history: 'history',
}
const FIELDS = Object.keys(COLUMNS) as (keyof UpscaleTask)[]

/** A task as its row. Written out, because objects that are filled by a loop are several times as slow. */
export function toRow(task: UpscaleTask): TaskRow {
  return {
    id: task.id,
    version: task.version,
    owner: task.owner,
    status: task.status,
    source_task_id: task.sourceTaskId,
    image_index: task.imageIndex,
    water_mark: task.waterMark,
    images: task.images && JSON.stringify(task.images),
    failure: task.failure && JSON.stringify(task.failure),
    failed_by: task.failedBy,
    upstream_task_id: task.upstreamTaskId,
    callback_token_hash: task.callbackTokenHash,
    picture_digest: task.pictureDigest,
    images_expire_at: task.imagesExpireAt,
    answer_by: task.answerBy,
    created_at: task.createdAt,
    updated_at: task.updatedAt,
    settled_at: task.settledAt,
    deadline_at: task.deadlineAt,
    due_at: task.dueAt,
    scheduled_at: task.createdAt,
    polls: task.polls,
    absences: task.notFoundCount,
    absent_since: task.notFoundSince,
    history: JSON.stringify(task.history),
  }
}

/** What has to be written where one state of a task is to take the place of another: columns, and their values. */
export function toChanges(previous: UpscaleTask, next: UpscaleTask): [(keyof TaskRow)[], unknown[]] {
  const columns: (keyof TaskRow)[] = []
  const values: unknown[] = []
  for (const field of FIELDS) {
    const value = next[field]
    if (value === previous[field]) continue
    columns.push(COLUMNS[field])
    values.push(typeof value === 'object' && value !== null ? JSON.stringify(value) : value)
  }
  if (next.dueAt !== previous.dueAt && next.dueAt !== null) {
    columns.push('scheduled_at')
    // Every status change adds to the history.
    values.push(next.history.at(-1)?.at ?? next.updatedAt)
  }
  return [columns, values]
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
    notFoundCount: row.absences,
    notFoundSince: row.absent_since,
    history: JSON.parse(row.history) as TaskEvent[],
  }
}
