/** The operations of the Service page, and the types of their data. */
import type { TaskStatus } from '../tasks/task-documents.ts'

export interface EngineRate {
  readonly limit: number
  readonly remaining: number
  readonly resetAt: string | null
}

export interface Engine {
  readonly name: string
  readonly mode: 'LIVE' | 'SANDBOX'
  readonly available: boolean
  readonly rate: EngineRate | null
}

export interface UsageEntry {
  readonly day: string
  readonly owner: string
  readonly engine: string
  readonly tasks: number
  readonly credits: number
}

/** An entry of the error catalogue. */
export interface ErrorInfo {
  readonly code: string
  readonly upstreamCode: number | null
  readonly description: string
  readonly retryable: boolean
  readonly retryAfterMs: number | null
}

export interface ServiceData {
  readonly upscaleService: {
    readonly mode: 'LIVE' | 'SANDBOX'
    readonly engines: readonly Engine[]
    readonly usage: readonly UsageEntry[] | null
  } | null
  /** The tasks that wait, or are being sent. */
  readonly upscaleTasks: {
    readonly edges: readonly { readonly node: { readonly queue: { readonly position: number } | null } }[]
    readonly pageInfo: { readonly hasNextPage: boolean }
  } | null
}

export const SERVICE_QUERY = `query ConsoleService {
  upscaleService {
    mode
    engines { name mode available rate { limit remaining resetAt } }
    usage(days: 7) { day owner engine tasks credits }
  }
  upscaleTasks(first: 100, status: SUBMITTED) { edges { node { queue { position } } } pageInfo { hasNextPage } }
}`

/** Apart from the rest, because it needs the scope of operators. */
export const CREDITS_QUERY = 'query ConsoleCredits { upscaleService { engines { name credits } } }'

export interface CreditsData {
  readonly upscaleService: {
    readonly engines: readonly { readonly name: string; readonly credits: number | null }[]
  } | null
}

export const ERRORS_QUERY =
  'query ConsoleErrors { upscaleErrors { code upstreamCode description retryable retryAfterMs } }'

/** Always a new task, also for a picture that was upscaled before. */
export const RUN_SCRIPT = `mutation ConsoleRunScript($taskId: ID!, $key: String!) {
  upscaleImage(input: { taskId: $taskId, imageIndex: 0, force: true, idempotencyKey: $key }) {
    task { id status }
    problem { code message taskId }
  }
}`

export interface ScriptOutcome {
  readonly upscaleImage: {
    readonly task: { readonly id: string; readonly status: TaskStatus } | null
    readonly problem: {
      readonly code: string
      readonly message: string
      readonly taskId: string | null
    } | null
  } | null
}
