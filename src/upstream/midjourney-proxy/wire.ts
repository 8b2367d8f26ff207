/** The wire format of the midjourney-proxy family, parsed leniently. Nothing in this file throws. */
import * as z from 'zod'
import type { Callback, Outcome, PollAnswer, SubmitAnswer } from '../../tasks/engines/engine-ports.ts'
import { toFailure } from '../../tasks/failure.ts'
import { findFailure } from '../codes.ts'
import type { SourcePictures, WireAnswer } from '../dialect.ts'
import { parseResult } from '../result-urls.ts'
import { parseStatus, toRefusal } from '../submit-rule.ts'
import { integerLike, upstreamId } from '../values.ts'
import { ACCEPTED, CODES } from './codes.ts'

const submitted = z.looseObject({
  code: integerLike,
  result: upstreamId.nullish().catch(null),
  properties: z.unknown().optional(),
})

/** The fields of a task that are read. An unfinished task has an `imageUrl` too: a preview. */
const task = z.looseObject({ status: z.string(), imageUrl: z.unknown().optional() })
type Task = z.infer<typeof task>

const notification = task.extend({ id: upstreamId })

/**
 * HTTP 5xx is no evidence of a refusal, whatever its body: relays send such answers after they have forwarded
 * the request.
 */
export function parseSubmitAnswer({ status, body, retryAfterMs }: WireAnswer): SubmitAnswer {
  const answer = submitted.safeParse(body)
  if (!answer.success || status >= 500) return parseStatus(status, retryAfterMs)
  const { code, result, properties } = answer.data
  if (!ACCEPTED.has(code)) return toRefusal(findFailure(CODES, code), retryAfterMs)
  const isSuccess = status >= 200 && status < 300
  if (!isSuccess || typeof result !== 'string')
    return {
      kind: 'unknown',
      note: `not understood: HTTP ${status}, code ${code}${result ? '' : ', no task id'}`,
    }
  const existing = code === 21 ? task.safeParse(properties) : undefined
  const outcome = existing?.success ? toFinal(existing.data) : undefined
  return { kind: 'accepted', upstreamTaskId: result, ...(outcome && { outcome }) }
}

/** Parses the answer to a fetch. The body is empty or null for an unknown task. */
export function parsePollAnswer({ status, body }: WireAnswer): PollAnswer {
  const isSuccess = status >= 200 && status < 300
  // Without JSON, HTTP 404 may be a proxy's, while the upstream restarts.
  if ((status === 404 && body !== undefined) || (isSuccess && body === null))
    return { kind: 'notFound', upstreamCode: 404 }
  const found = task.safeParse(body)
  if (!isSuccess || !found.success) return { kind: 'unavailable' }
  const outcome = toFinal(found.data)
  if (outcome === undefined) return { kind: 'pending', ...toDropped(found.data) }
  return outcome.kind === 'failed' ? { ...outcome, recorded: true } : outcome
}

/** The picture of a task. A generation has one picture, the grid. */
export function parseSource(answer: WireAnswer): SourcePictures {
  const source = parsePollAnswer(answer)
  if (source.kind === 'unavailable') return 'unavailable'
  return source.kind === 'succeeded' ? source.imageUrls : null
}

/** Whether an answer has a code of this upstream. */
export function hasCode({ body }: WireAnswer): boolean {
  return submitted.safeParse(body).success
}

/** Parses the body of a notifyHook request; undefined if it is malformed. */
export function parseCallback(body: unknown): Callback | undefined {
  const notified = notification.safeParse(body)
  if (!notified.success) return undefined
  const { id: upstreamTaskId } = notified.data
  const kind = isDone(notified.data) ? 'inconclusive' : 'pending'
  return { upstreamTaskId, outcome: toFinal(notified.data) ?? { kind, ...toDropped(notified.data) } }
}

function isDone({ status }: Task): boolean {
  return status.toUpperCase() === 'SUCCESS'
}

/** The outcome of a task; undefined if it runs, or if its result has no usable URL. */
function toFinal(found: Task): Outcome | undefined {
  switch (found.status.toUpperCase()) {
    case 'SUCCESS': {
      const result = parseResult(found.imageUrl)
      return result.imageUrls.length > 0 ? { kind: 'succeeded', ...result } : undefined
    }
    case 'FAILURE':
    // Canceled at the upstream.
    case 'CANCEL':
      return { kind: 'failed', failure: toFailure('GENERATION_FAILED') }
    default:
      return undefined
  }
}

/** How many URLs of a finished task are unusable. */
function toDropped(found: Task): { readonly dropped?: number } {
  const { imageUrls: _, ...dropped } = parseResult(isDone(found) ? found.imageUrl : null)
  return dropped
}
