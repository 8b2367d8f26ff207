import { CATALOGUE, type FailureCause, type UpscaleErrorCode } from '../failure.ts'
import type { SubmitAnswer } from '../engines/engine-ports.ts'

/** The shortest and the longest wait after a refusal, whatever its Retry-After. */
const MIN_DELAY_MS = 1_000
const MAX_DELAY_MS = 300_000
/** Refusals that concern all tasks of the engine. */
const OUTAGES: readonly UpscaleErrorCode[] = [
  'UPSTREAM_RATE_LIMITED',
  'UPSTREAM_MAINTENANCE',
  'UPSTREAM_UNREACHABLE',
]
type Refused = Extract<SubmitAnswer, { kind: 'refused' }>

/** Whether the engine refuses all tasks at the moment. */
export function isOutage(answer: SubmitAnswer): answer is Refused {
  return answer.kind === 'refused' && isOutageCode(answer.failure.code)
}

/** Whether a refusal concerns all tasks for now. */
export function isOutageCode(code: UpscaleErrorCode): boolean {
  return OUTAGES.includes(code)
}

/**
 * Whether the refusal defers the task: it proves that nothing was charged, and a later attempt may be
 * accepted.
 */
export function isTemporary(answer: SubmitAnswer): answer is Refused {
  return isOutage(answer) && answer.doubtful !== true
}

/** Grows with each refusal of the task, so that a task that is always refused is rarely sent. */
export function toDelayMs({ code, retryAfterMs }: FailureCause, refusals: number): number {
  const once = Math.max(retryAfterMs ?? CATALOGUE[code].retryAfterMs ?? 0, MIN_DELAY_MS)
  return Math.min(once * refusals, MAX_DELAY_MS)
}
