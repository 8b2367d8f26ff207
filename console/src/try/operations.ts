import type { TaskStatus } from '../ui/badge.tsx'

export interface SourcePicture {
  readonly url: string
  readonly thumbhash: string | null
}

export interface UpscaledPicture {
  readonly url: string
  readonly originalUrl: string
  readonly expiresAt: string | null
  readonly copyState: 'PENDING' | 'KEPT' | 'LOST' | 'OFF'
  readonly width: number | null
  readonly height: number | null
  readonly byteSize: number | null
  readonly contentType: string | null
  readonly sha256: string | null
  readonly thumbhash: string | null
  readonly enlargement: number | null
  readonly provenance: 'NONE' | 'PRESENT' | null
}

interface Problem {
  readonly code: string
  readonly message: string
  readonly retryable: boolean
  readonly retryAfterMs: number | null
  readonly upstreamCode: number | null
  readonly correlationId: string
}

export interface Task {
  readonly id: string
  readonly version: number
  readonly status: TaskStatus
  readonly source: { readonly id: string }
  readonly imageIndex: number
  readonly waterMark: string | null
  readonly engine: string
  readonly createdAt: string
  readonly settledAt: string | null
  readonly estimatedDoneAt: string | null
  readonly queue: { readonly position: number; readonly estimatedStartAt: string | null } | null
  /** Absent in the answer to a submit; null if the upscale service does not report it, or not yet. */
  readonly sourceImage?: SourcePicture | null
  readonly images: readonly UpscaledPicture[] | null
  readonly problem: Problem | null
}

const PROBLEM_FIELDS = 'problem { code message retryable retryAfterMs upstreamCode correlationId }'

/** Without the source picture: loading it would delay the answer to a submit by up to a second. */
const SUBMITTED_FIELDS = `id version status source { id } imageIndex waterMark engine
  createdAt settledAt estimatedDoneAt queue { position estimatedStartAt }
  images {
    url originalUrl expiresAt copyState width height byteSize contentType sha256 thumbhash enlargement provenance
  }
  ${PROBLEM_FIELDS}`

/** Everything that a card shows. */
export const TASK_FIELDS = `${SUBMITTED_FIELDS} sourceImage { url thumbhash }`

export interface UpscaleData {
  readonly upscaleImages: {
    readonly results: readonly {
      readonly task: Task | null
      readonly problem: Problem | null
      readonly replayed: boolean
    }[]
  } | null
}

export const UPSCALE = `mutation Upscale($input: UpscaleImagesInput!) {
  upscaleImages(input: $input) {
    results { task { ${SUBMITTED_FIELDS} } ${PROBLEM_FIELDS} replayed }
  }
}`

export const TASK = `query Task($id: ID!) { upscaleTask(id: $id) { ${TASK_FIELDS} } }`

export const CANCEL = `mutation Cancel($id: ID!) { cancelUpscale(id: $id) { ${TASK_FIELDS} } }`

export interface SourceData {
  readonly sourceImages: readonly (SourcePicture | null)[] | null
}

export const SOURCE = `query Source($taskId: ID!, $engine: String) {
  sourceImages(taskId: $taskId, engine: $engine) { url thumbhash }
}`

export interface EnginesData {
  readonly upscaleService: {
    readonly engines: readonly { readonly name: string; readonly available: boolean }[]
  } | null
}

export const ENGINES = '{ upscaleService { engines { name available } } }'
