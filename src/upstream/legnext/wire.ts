/** The wire format of LegNext, parsed leniently. Nothing in this file throws. */
import * as z from 'zod'
import type { Callback, Outcome, PollAnswer, Result, SubmitAnswer } from '../../tasks/engines/engine-ports.ts'
import { toFailure } from '../../tasks/failure.ts'
import { findFailure } from '../codes.ts'
import type { SourcePictures, WireAnswer } from '../dialect.ts'
import { parsePositions, parseResult } from '../result-urls.ts'
import { parseStatus, toRefusal } from '../submit-rule.ts'
import { integerLike, toConsumption, upstreamId } from '../values.ts'
import { CODES } from './codes.ts'

const errorCode = z.looseObject({ code: integerLike.nullish().catch(null) })

/** The fields of a job that are read. `config` is never read: it contains our callback token. */
const job = z.looseObject({
  job_id: upstreamId,
  status: z.string().nullish().catch(null),
  output: z
    .looseObject({ image_url: z.unknown().optional(), image_urls: z.unknown().optional() })
    .nullish()
    .catch(null),
  error: errorCode.nullish().catch(null),
  meta: z
    .looseObject({ usage: z.looseObject({ consume: z.unknown().optional() }).nullish().catch(null) })
    .nullish()
    .catch(null),
})
type Job = z.infer<typeof job>

/** An answer without a job: the code is at the top, or under `error`. */
const failedRequest = errorCode.extend({
  error: errorCode.nullish().catch(null),
  message: z.unknown().optional(),
})

const balance = z.looseObject({
  data: z.looseObject({
    available_credits: z.number().nullish().catch(null),
    available_points: z.number().nullish().catch(null),
  }),
})

/** HTTP statuses that refuse a request even if the error in the body has no code. */
const REFUSALS: readonly number[] = [400, 422]

export function parseSubmitAnswer({ status, body, retryAfterMs }: WireAnswer): SubmitAnswer {
  const isSuccess = isSuccessStatus(status)
  const created = job.safeParse(body)
  if (created.success && isSuccess) {
    const outcome = toFinal(created.data)
    return { kind: 'accepted', upstreamTaskId: created.data.job_id, ...(outcome && { outcome }) }
  }
  if (created.success) return { kind: 'unknown', note: `not understood: HTTP ${status} with a job id` }
  const code = findErrorCode(status, body)
  // An internal error proves nothing: the job may have been created.
  if (code === 500 || (code !== null && status >= 500))
    return { kind: 'unknown', note: `an internal error: HTTP ${status}, code ${code}` }
  if (code !== null && code !== 200) return toRefusal(findFailure(CODES, code), retryAfterMs)
  if (isSuccess) return { kind: 'unknown', note: `not understood: HTTP ${status}, no job id` }
  return parseStatus(status, retryAfterMs)
}

export function parsePollAnswer({ status, body }: WireAnswer): PollAnswer {
  const found = job.safeParse(body)
  if (!found.success || !isSuccessStatus(status)) {
    const isUnknown =
      findErrorCode(status, body) === 404 || (status === 404 && failedRequest.safeParse(body).success)
    return isUnknown ? { kind: 'notFound', upstreamCode: 404 } : { kind: 'unavailable' }
  }
  const outcome = toFinal(found.data)
  if (outcome === undefined) return { kind: 'pending', ...toDropped(found.data) }
  return outcome.kind === 'failed' ? { ...outcome, recorded: true } : outcome
}

/** The pictures of a generation. */
export function parseSource(answer: WireAnswer): SourcePictures {
  const source = parsePollAnswer(answer)
  if (source.kind === 'unavailable') return 'unavailable'
  const found = job.safeParse(answer.body)
  return source.kind === 'succeeded' && found.success ? parsePositions(found.data.output?.image_urls) : null
}

/** Parses a callback, which is the job; undefined if it is malformed. */
export function parseCallback(body: unknown): Callback | undefined {
  const called = job.safeParse(body)
  if (!called.success || typeof called.data.status !== 'string') return undefined
  const { job_id: upstreamTaskId, status } = called.data
  const kind = status === 'completed' ? 'inconclusive' : 'pending'
  return { upstreamTaskId, outcome: toFinal(called.data) ?? { kind, ...toDropped(called.data) } }
}

/** The sum of credits and points, which pay for the same upscales; null if the answer has neither. */
export function parseCredits({ status, body }: WireAnswer): number | null {
  const answer = balance.safeParse(body)
  if (!answer.success || !isSuccessStatus(status)) return null
  const { available_credits: credits, available_points: points } = answer.data.data
  if (typeof credits !== 'number' && typeof points !== 'number') return null
  const total = (credits ?? 0) + (points ?? 0)
  return Number.isFinite(total) ? total : null
}

function isSuccessStatus(status: number): boolean {
  return status >= 200 && status < 300
}

/** The outcome of a job; undefined if it runs, or if its result has no usable URL. */
function toFinal(found: Job): Outcome | undefined {
  const consumption = toConsumption(found.meta?.usage?.consume)
  if (found.status === 'completed') {
    const result = toResult(found)
    return result.imageUrls.length > 0 ? { kind: 'succeeded', ...result, ...consumption } : undefined
  }
  if (found.status !== 'failed') return undefined
  // A job without an error has code 0.
  const code = found.error?.code
  return {
    kind: 'failed',
    failure: code ? findFailure(CODES, code) : toFailure('GENERATION_FAILED'),
    ...consumption,
  }
}

/** `image_urls` are the pictures; `image_url` is the only one, or their grid. */
function toResult({ output }: Job): Result {
  const pictures = parseResult(output?.image_urls)
  return pictures.imageUrls.length > 0 ? pictures : parseResult([output?.image_urls, output?.image_url])
}

/** How many URLs of a finished job are unusable. */
function toDropped(found: Job): { readonly dropped?: number } {
  if (found.status !== 'completed') return {}
  const { imageUrls: _, ...dropped } = toResult(found)
  return dropped
}

/** The code of an error; null: the body is no error of this upstream. */
export function findErrorCode(status: number, body: unknown): number | null {
  const failed = failedRequest.safeParse(body)
  if (!failed.success) return null
  const { code, error, message } = failed.data
  const own = [code, error?.code].find((each) => typeof each === 'number' && each !== 0)
  if (typeof own === 'number') return own
  return REFUSALS.includes(status) && typeof message === 'string' ? status : null
}
