/**
 * The rule for the paid request: a refusal needs evidence. Evidence is an envelope with a code other than 200, an
 * HTTP status that proves that the origin did not run the request, or (in http.ts) a connection that was never
 * established. After any other answer the task may have been accepted and charged: the outcome is unknown.
 */
import { z } from 'zod'
import { toFailure, toUpstreamFailure, type FailureCause, type UpscaleErrorCode } from '../tasks/failure.ts'
import type { SubmitAnswer } from '../tasks/ports.ts'
import { envelope, upstreamId } from './wire.ts'

/**
 * HTTP statuses that prove, without an envelope, that the origin did not run the request: a proxy or CDN sent them in
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

const created = z.looseObject({ taskId: upstreamId })

/** Parses the answer to a create request; does not throw. `body` is the parsed JSON, undefined if there is none. */
export function parseSubmitAnswer(
  httpStatus: number,
  body: unknown,
  retryAfterMs: number | null,
): SubmitAnswer {
  const answer = envelope.safeParse(body)
  if (!answer.success) return parseWithoutEnvelope(httpStatus, retryAfterMs)
  const { code, data } = answer.data
  if (code !== 200)
    return {
      kind: 'refused',
      failure: withWait(toUpstreamFailure(code), retryAfterMs),
      note: `refused by the upscale service with code ${code}`,
    }
  const task = created.safeParse(data)
  const isSuccess = httpStatus >= 200 && httpStatus < 300
  if (isSuccess && task.success) return { kind: 'accepted', upstreamTaskId: task.data.taskId }
  return {
    kind: 'unknown',
    note: `not understood: HTTP ${httpStatus}, code 200${task.success ? '' : ', no task id'}`,
  }
}

function parseWithoutEnvelope(httpStatus: number, retryAfterMs: number | null): SubmitAnswer {
  const code = NOT_RUN.get(httpStatus)
  if (code === undefined)
    return { kind: 'unknown', note: `not understood: HTTP ${httpStatus} without an envelope` }
  return {
    kind: 'refused',
    failure: withWait({ ...toFailure(code, httpStatus), nothingCharged: true }, retryAfterMs),
    note: `refused before the upscale service ran it: HTTP ${httpStatus} without an envelope`,
  }
}

/** The failure with the wait from Retry-After, if a retry can help. */
function withWait(failure: FailureCause, retryAfterMs: number | null): FailureCause {
  return failure.retryAfterMs !== null && retryAfterMs !== null ? { ...failure, retryAfterMs } : failure
}
