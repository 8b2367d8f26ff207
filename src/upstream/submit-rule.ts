/**
 * The rule for the paid request: a refusal needs evidence. Evidence is a code of the upstream that refuses the task, an
 * HTTP status that proves that the origin did not run the request, or (in http.ts) a connection that was never
 * established. After any other answer the task may have been accepted and charged: the outcome is unknown.
 */
import { z } from 'zod'
import type { SubmitAnswer } from '../tasks/engines/engine-ports.ts'
import { isDoubtful, toFailure, type FailureCause, type UpscaleErrorCode } from '../tasks/failure.ts'
import type { WireAnswer } from './dialect.ts'
import { findMessage } from './message.ts'
import { upstreamId } from './values.ts'

/**
 * HTTP statuses that prove, without a code of the upstream, that the origin did not run the request: a proxy or CDN sent them in
 * its place (407 and 511 require a login there; 521–523, 525, 526 and 530 are Cloudflare's), or the origin sends them
 * before a handler runs. 500, 502, 504, 520 and 524 prove nothing: the origin may have accepted the task.
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

/** Parses an answer without a code of the upstream, by its HTTP status. */
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

/** A refusal by a code of the upstream. */
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

/** An upstream that sends a task id may have created the task, whatever the code. */
const withTaskId = z.looseObject({ data: z.looseObject({ taskId: upstreamId }) })

/**
 * Adds `engineUnavailable` to a refusal that concerns every task and proves that nothing was charged: then the task may move on
 * to another engine. An HTTP 5xx with another code in its body is no proof: a relay may have forwarded the request.
 */
export function markUnavailable(
  answer: SubmitAnswer,
  { status, body }: Pick<WireAnswer, 'status' | 'body'>,
  isEndpointMissing: boolean,
): SubmitAnswer {
  if (answer.kind !== 'refused' || isDoubtful(answer.failure)) return answer
  const { code, upstreamCode } = answer.failure
  if ((status >= 500 && status !== upstreamCode) || withTaskId.safeParse(body).success) return answer
  const isUnavailable = UNAVAILABLE.includes(code) || (code === 'UPSTREAM_NOT_FOUND' && isEndpointMissing)
  return isUnavailable ? { ...answer, engineUnavailable: true } : answer
}

/** Words of a message about a task or picture, and not about the endpoint. */
const ABOUT_TASK = /task|job|record|image|picture|source|\bid\b/i

/** Whether an answer says that the endpoint does not exist: HTTP 404 without a message about a task. */
export function saysNoEndpoint({ status, body }: Pick<WireAnswer, 'status' | 'body'>): boolean {
  return status === 404 && !ABOUT_TASK.test(findMessage(body) ?? '')
}
