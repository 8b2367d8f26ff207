/**
 * The rule for the paid request: a refusal needs evidence. Evidence is a code of the upstream that refuses
 * the task, an HTTP status that proves that the origin did not run the request, or (in http.ts) a connection
 * that was never established. After any other answer the task may have been accepted and charged: the outcome
 * is unknown.
 */
import type { SubmitAnswer } from '../tasks/engines/engine-ports.ts'
import { toFailure, type FailureCause, type UpscaleErrorCode } from '../tasks/failure.ts'
import type { Dialect, WireAnswer } from './dialect.ts'
import { findMessage } from './message.ts'
import { upstreamId } from './values.ts'

/**
 * HTTP statuses that prove, without a code of the upstream, that the origin did not run the request: a proxy
 * or CDN sent them in its place (407 and 511 require a login there; 521–523, 525, 526 and 530 are
 * Cloudflare's), or the origin sends them before a handler runs. 500, 502, 504, 520 and 524 prove nothing:
 * the origin may have accepted the task.
 */
const NOT_RUN: ReadonlyMap<number, UpscaleErrorCode> = new Map([
  [401, 'UPSTREAM_UNAUTHORIZED'],
  [402, 'INSUFFICIENT_CREDITS'],
  [404, 'UPSTREAM_NOT_FOUND'],
  [429, 'UPSTREAM_RATE_LIMITED'],
  [503, 'UPSTREAM_MAINTENANCE'],
  ...[407, 511, 521, 522, 523, 525, 526, 530].map((status) => [status, 'UPSTREAM_UNREACHABLE'] as const),
  ...[403, 405, 411, 413, 414, 415, 417, 421, 426, 431].map(
    (status) => [status, 'UPSTREAM_PROTOCOL_ERROR'] as const,
  ),
])

/** The answer without a code of the upstream. */
export function parseStatus(httpStatus: number, retryAfterMs: number | null): SubmitAnswer {
  const code = NOT_RUN.get(httpStatus)
  if (code === undefined)
    return { kind: 'unknown', note: `not understood: HTTP ${httpStatus} without an envelope` }
  return {
    kind: 'refused',
    failure: withWait({ ...toFailure(code, httpStatus), nothingCharged: true }, retryAfterMs),
    note: `refused before the upscale service ran it: HTTP ${httpStatus} without an envelope`,
  }
}

/** The refusal with a code of the upstream. */
export function toRefusal(failure: FailureCause, retryAfterMs: number | null): SubmitAnswer {
  const note = `refused by the upscale service with code ${failure.upstreamCode ?? 'unknown'}`
  return { kind: 'refused', failure: withWait(failure, retryAfterMs), note }
}

/** The failure with the wait from Retry-After, if a retry can help. */
function withWait(failure: FailureCause, retryAfterMs: number | null): FailureCause {
  return failure.retryAfterMs !== null && retryAfterMs !== null ? { ...failure, retryAfterMs } : failure
}

/** Refusals that concern every task. */
const UNAVAILABLE: readonly UpscaleErrorCode[] = [
  'FEATURE_DISABLED',
  'UPSTREAM_MAINTENANCE',
  'UPSTREAM_UNREACHABLE',
]

/**
 * Statuses after which only the caller may send the task again: some proxies answer 503, and Cloudflare 522,
 * after they have forwarded the request.
 */
const DOUBTFUL_STATUSES: readonly (number | null)[] = [503, 522]

/** Adds to a refusal what it says about the engine, and whether it is beyond doubt. */
export function judgeRefusal(
  answer: SubmitAnswer,
  wire: Pick<WireAnswer, 'status' | 'body'>,
  isEndpointMissing: boolean,
): SubmitAnswer {
  if (answer.kind !== 'refused') return answer
  const { code } = answer.failure
  if (isDoubtful(answer.failure, wire)) return { ...answer, doubtful: true }
  if (code === 'UPSTREAM_NOT_FOUND' && !isEndpointMissing) return { ...answer, sourceUnknown: true }
  const isUnavailable = UNAVAILABLE.includes(code) || code === 'UPSTREAM_NOT_FOUND'
  return isUnavailable ? { ...answer, engineUnavailable: true } : answer
}

/**
 * Whether an answer to any request refuses the key beyond doubt: nothing ran, so it can be sent again with
 * another key.
 */
export function refusesKey({ parseSubmit }: Pick<Dialect, 'parseSubmit'>, wire: WireAnswer): boolean {
  const answer = judgeRefusal(parseSubmit(wire), wire, false)
  return answer.kind === 'refused' && answer.failure.code === 'UPSTREAM_UNAUTHORIZED' && !answer.doubtful
}

/** HTTP 5xx with another code in its body may come from a relay that has forwarded the request. */
function isDoubtful(
  { upstreamCode }: FailureCause,
  { status, body }: Pick<WireAnswer, 'status' | 'body'>,
): boolean {
  const isRelayed = status >= 500 && status !== upstreamCode
  return isRelayed || DOUBTFUL_STATUSES.includes(upstreamCode) || namesTask(body) || namesTask(toData(body))
}

function toData(body: unknown): unknown {
  return typeof body === 'object' && body !== null && 'data' in body ? body.data : undefined
}

/** An answer that names a task may have created it, whatever its code says. */
function namesTask(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return ['taskId', 'task_id', 'job_id'].some((key) => upstreamId.safeParse(Reflect.get(value, key)).success)
}

/** Words of a message about a task, and not about the endpoint. */
const ABOUT_TASK = /\b(task|job|record|image|picture|source)(s| ?ids?)?\b/i

/** Whether an answer says that the endpoint does not exist: HTTP 404 without a message about a task. */
export function saysNoEndpoint({ status, body }: Pick<WireAnswer, 'status' | 'body'>): boolean {
  const message = findMessage(body) ?? ''
  // A message about the endpoint may contain its path, such as `/api/v1/jobs/createTask`.
  return status === 404 && !ABOUT_TASK.test(message.replaceAll(/\S*\/\S*/g, ''))
}
