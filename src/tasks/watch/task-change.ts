/** The version of a task, and when it was reached. */
export interface TaskChange {
  readonly id: string
  readonly version: number
  readonly updatedAt: number
}

export interface ChangeQuery {
  readonly owner: string
  /** Only tasks whose version was reached at this instant or later. */
  readonly since: number
  /** Only changes after this one; `since` then has no effect. Null: from the start. */
  readonly after: Pick<TaskChange, 'id' | 'updatedAt'> | null
  readonly limit: number
}
