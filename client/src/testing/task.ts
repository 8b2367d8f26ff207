import type { Cause, Scenario } from './scenario.ts'

export type Status = 'SUBMITTED' | 'PROCESSING' | 'SUCCEEDED' | 'FAILED'
export type Source = 'SUBMIT' | 'CALLBACK' | 'POLL' | 'DEADLINE' | 'INSPECTION' | 'OWNER'

interface TaskEvent {
  readonly at: number
  readonly status: Status
  readonly source: Source
  readonly upstreamCode: number | null
  readonly note: string
}

interface Picture {
  readonly taskId: string
  readonly imageIndex: number
  /** Null: none. */
  readonly waterMark: string | null
}

/** What a caller submits, checked. */
export interface Submit extends Picture {
  readonly idempotencyKey: string | null
  readonly force: boolean
  readonly queue: boolean
  readonly engine: string | null
  readonly callBackUrl: string | null
}

/** A task of the scripted gateway. Instants are Unix milliseconds. */
export interface ScriptedTask extends Picture {
  readonly id: string
  readonly correlationId: string
  readonly scenario: Scenario
  readonly requestedEngine: string | null
  readonly callBackUrls: Set<string>
  readonly createdAt: number
  version: number
  status: Status
  failure: Cause | null
  /** REFUSAL: it is never shown as a task to its submitter. */
  failedBy: 'REFUSAL' | 'UPSTREAM' | 'SILENCE' | null
  /** Null: it does not wait in the queue. */
  queueRank: number | null
  queueRefusal: Cause | null
  queueAttempts: number
  updatedAt: number
  settledAt: number | null
  estimatedDoneAt: number | null
  deadlineAt: number
  readonly history: TaskEvent[]
  /** Resolves when the submit is answered, or its answer is lost. */
  answered: Promise<void>
}

export function isSettled({ status }: ScriptedTask): boolean {
  return status === 'SUCCEEDED' || status === 'FAILED'
}

export function isWaiting({ queueRank, status }: ScriptedTask): boolean {
  return queueRank !== null && status === 'SUBMITTED'
}

/** Whether two pictures are the same. */
export function isSamePicture(one: Picture, other: Picture): boolean {
  return (
    one.taskId === other.taskId && one.imageIndex === other.imageIndex && one.waterMark === other.waterMark
  )
}
