import type { TaskStatus } from '../tasks/task.ts'

/** The tables as Kysely sees them. Instants are Unix milliseconds; `images`, `failure` and `history` are JSON texts. */
export interface Database {
  task: TaskRow
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
  refused: number
  upstream_task_id: string | null
  callback_token_hash: string
  key_claim: string | null
  key_claim_until: number | null
  picture_claim: string | null
  picture_claim_until: number | null
  answer_by: number | null
  created_at: number
  updated_at: number
  settled_at: number | null
  deadline_at: number
  due_at: number | null
  polls: number
  history: string
}
