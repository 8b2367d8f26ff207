import type { DeliveryState } from '../deliveries/outbox.ts'
import type { FailedBy, TaskStatus } from '../tasks/task.ts'

/** The tables as Kysely sees them. Instants are Unix milliseconds; `images`, `failure` and `history` are JSON texts. */
export interface Database {
  task: TaskRow
  idempotency_key: IdempotencyKeyRow
  delivery: DeliveryRow
  rate_limit: RateLimitRow
  task_count: TaskCountRow
}

/** How many tasks have a status; on SQLite only, written by triggers. */
export interface TaskCountRow {
  status: TaskStatus
  count: number
}

/** A count of rate-limiter-flexible (on PostgreSQL); and the row that the write probe writes. */
export interface RateLimitRow {
  key: string
  points: number
  expire: number | null
}

/** What a caller's server is owed, and what became of it. */
export interface DeliveryRow {
  id: string
  task_id: string
  owner: string
  url: string
  host: string
  version: number
  state: DeliveryState
  attempts: number
  failures: number
  owed_since: number | null
  last_status_code: number | null
  due_at: number | null
  leased_until: number | null
  /** When `due_at` and `leased_until` were written. */
  scheduled_at: number
}

/** Which task an owner's idempotency key names. */
export interface IdempotencyKeyRow {
  claim: string
  task_id: string
  until: number
}

export interface TaskRow {
  id: string
  version: number
  owner: string
  status: TaskStatus
  source_task_id: string
  image_index: number
  water_mark: string | null
  images: string | null
  failure: string | null
  failed_by: FailedBy | null
  upstream_task_id: string | null
  callback_token_hash: string
  picture_digest: string
  images_expire_at: number | null
  answer_by: number | null
  created_at: number
  updated_at: number
  settled_at: number | null
  deadline_at: number
  due_at: number | null
  /** When `due_at` was written. */
  scheduled_at: number
  polls: number
  absences: number
  absent_since: number | null
  history: string
}
