/** The operations of the Tasks page, and the types of their data. */

export type TaskStatus = 'SUBMITTED' | 'PROCESSING' | 'SUCCEEDED' | 'FAILED'

/** The statuses, in the order of a task's life. */
export const STATUSES: readonly TaskStatus[] = ['SUBMITTED', 'PROCESSING', 'SUCCEEDED', 'FAILED']

/** The fields of a task in the list. */
export interface ListedTask {
  readonly id: string
  readonly version: number
  readonly status: TaskStatus
  readonly source: { readonly id: string }
  readonly imageIndex: number
  readonly engine: string
  readonly createdAt: string
  readonly settledAt: string | null
  readonly queue: { readonly position: number } | null
  readonly images: readonly TaskImage[] | null
  readonly problem: { readonly code: string } | null
}

export interface TaskImage {
  readonly url: string
  readonly copyState: 'PENDING' | 'KEPT' | 'LOST' | 'OFF'
  readonly width: number | null
  readonly height: number | null
  readonly thumbhash: string | null
}

/** The fields of the open task. */
export interface OpenTask extends ListedTask {
  readonly correlationId: string | null
  readonly waterMark: string | null
  readonly creditsConsumed: number | null
  readonly images: readonly OpenImage[] | null
  readonly sourceImage: { readonly url: string; readonly thumbhash: string | null } | null
  readonly problem: TaskProblem | null
  readonly history: readonly TaskEvent[]
  readonly updatedAt: string
  readonly deadlineAt: string
  readonly estimatedDoneAt: string | null
  readonly queue: { readonly position: number; readonly estimatedStartAt: string | null } | null
  readonly callbacks: readonly Delivery[]
}

export interface OpenImage extends TaskImage {
  readonly originalUrl: string
  readonly expiresAt: string | null
  readonly byteSize: number | null
  readonly contentType: string | null
  readonly enlargement: number | null
}

export interface TaskProblem {
  readonly code: string
  readonly message: string
  readonly retryable: boolean
  readonly retryAfterMs: number | null
  readonly upstreamCode: number | null
  readonly correlationId: string
}

export interface TaskEvent {
  readonly at: string
  readonly status: TaskStatus
  readonly source: 'SUBMIT' | 'CALLBACK' | 'POLL' | 'DEADLINE' | 'INSPECTION' | 'OWNER'
  readonly upstreamCode: number | null
  readonly note: string | null
}

export interface Delivery {
  readonly url: string
  readonly state: 'PENDING' | 'DELIVERED' | 'GAVE_UP'
  readonly attempts: number
  readonly lastStatusCode: number | null
  readonly nextAttemptAt: string | null
}

export interface TaskPage {
  readonly edges: readonly { readonly node: ListedTask }[]
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null }
}

const LISTED = `id version status source { id } imageIndex engine createdAt settledAt queue { position }
  images { url copyState width height thumbhash } problem { code }`

const DELIVERIES = 'callbacks { url state attempts lastStatusCode nextAttemptAt }'

/** The selection of the open task. `taskUpdated` and the query share it. */
export const OPEN_SELECTION = `id version status source { id } imageIndex engine createdAt updatedAt settledAt deadlineAt
  estimatedDoneAt correlationId waterMark creditsConsumed queue { position estimatedStartAt }
  images { url originalUrl copyState width height thumbhash expiresAt byteSize contentType enlargement }
  sourceImage { url thumbhash }
  problem { code message retryable retryAfterMs upstreamCode correlationId }
  history { at status source upstreamCode note }
  ${DELIVERIES}`

export const TASKS_QUERY = `query ConsoleTasks($first: Int!, $after: String, $status: UpscaleTaskStatus) {
  upscaleTasks(first: $first, after: $after, status: $status) {
    edges { node { ${LISTED} } }
    pageInfo { hasNextPage endCursor }
  }
}`

export const TASKS_CHANGED = `subscription ConsoleTasksChanged { upscaleTasksChanged { ${LISTED} } }`

export const TASK_QUERY = `query ConsoleTask($id: ID!) { upscaleTask(id: $id) { ${OPEN_SELECTION} } }`

export const DELIVERIES_QUERY = `query ConsoleDeliveries($id: ID!) { upscaleTask(id: $id) { ${DELIVERIES} } }`

export const REDELIVER = `mutation ConsoleRedeliver($id: ID!) { redeliverCallbacks(id: $id) { ${DELIVERIES} } }`

export const CANCEL = `mutation ConsoleCancel($id: ID!) { cancelUpscale(id: $id) { ${OPEN_SELECTION} } }`

export const DELETE = 'mutation ConsoleDelete($id: ID!) { deleteUpscaleTask(id: $id) }'
