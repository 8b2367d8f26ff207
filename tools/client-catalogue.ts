import { format, resolveConfig } from 'prettier'
import { STORE_UNAVAILABLE, taskNotFound } from '../src/graphql/errors.ts'
import { CATALOGUE, UPSCALE_ERROR_CODES } from '../src/tasks/failure.ts'
import { isOutageCode, isTemporary } from '../src/tasks/queue/refusals.ts'
import { judgeRefusal, parseStatus } from '../src/upstream/submit-rule.ts'

export const CLIENT_CATALOGUE = 'client/src/testing/catalogue.ts'

const HEAD = `// Generated from src/tasks, src/upstream and src/graphql by \`npm run schema:emit\`.

/** An entry of the error catalogue, as \`upscaleErrors\` returns it. */
interface CatalogueEntry {
  readonly code: UpscaleErrorCode
  /** The upstream's code; null: it has none. */
  readonly upstreamCode: number | null
  /** What happened, for people: the \`message\` of a problem. */
  readonly description: string
  readonly retryable: boolean
  readonly retryAfterMs: number | null
  /** Whether a refusal with this code proves that nothing was charged. */
  readonly nothingCharged: boolean
  /** Whether a refusal with this code lets a submit with \`queue: true\` wait in the queue. */
  readonly isOutage: boolean
}

/** A refusal by a proxy or CDN in front of the upstream. */
interface StatusRefusal {
  readonly code: UpscaleErrorCode
  /** Whether a submit with \`queue: true\` waits in the queue. */
  readonly isTemporary: boolean
}
`

/** The catalogue of the client's scripted gateway, which has no dependencies. */
export async function printClientCatalogue(): Promise<string> {
  const entries = UPSCALE_ERROR_CODES.map((code) => {
    const { upstreamCode, description, retryable, retryAfterMs, nothingCharged } = CATALOGUE[code]
    return {
      code,
      upstreamCode,
      description,
      retryable,
      retryAfterMs,
      nothingCharged,
      isOutage: isOutageCode(code),
    }
  })
  const text = `${HEAD}
export const CATALOGUE: readonly CatalogueEntry[] = ${JSON.stringify(entries)}

/** The stable code of a failure. */
export type UpscaleErrorCode = ${UPSCALE_ERROR_CODES.map((code) => JSON.stringify(code)).join(' | ')}

/** The refusals without an envelope, by HTTP status. After any other status the outcome is unknown. */
export const REFUSAL_BY_STATUS: Readonly<Record<number, StatusRefusal>> = ${JSON.stringify(toRefusals())}

/** The error SERVICE_UNAVAILABLE. */
export const UNAVAILABLE = ${JSON.stringify(STORE_UNAVAILABLE)} as const

/** The message of TASK_NOT_FOUND. */
export const TASK_NOT_FOUND = ${JSON.stringify(taskNotFound('').message)}
`
  return format(text, { ...(await resolveConfig(CLIENT_CATALOGUE)), parser: 'typescript' })
}

function toRefusals(): Record<number, object> {
  const refusals = Array.from({ length: 400 }, (_, index) => index + 200).flatMap((status) => {
    const answer = judgeRefusal(parseStatus(status, null), { status, body: '' }, false)
    return answer.kind === 'refused'
      ? [[status, { code: answer.failure.code, isTemporary: isTemporary(answer) }] as const]
      : []
  })
  return Object.fromEntries(refusals)
}
