/**
 * The vendor's wire format, parsed leniently: every shape that was ever seen becomes a value of ours, and
 * every surprise a typed failure. Nothing in here throws.
 */
import { z } from 'zod'
import { toFailure, toUpstreamFailure, type FailureCause } from '../tasks/failure.ts'
import type { CallbackNews, Lookup, SubmitAnswer } from '../tasks/ports.ts'

/** An integer that GraphQL's Int can show, also when it comes as a string. */
const integerLike = z.union([
  z.int32(),
  z
    .string()
    .regex(/^-?\d{1,9}$/)
    .transform(Number),
])

/** Any text that can be stored and logged: no control characters, no halves of characters. */
const upstreamId = z
  .string()
  .max(256)
  .regex(/^[^\p{Cc}\p{Cs}]+$/u)

/** What every answer is wrapped in. A body without an integer-like `code` is not an envelope. */
const envelope = z.looseObject({ code: integerLike, data: z.unknown().optional() })

const created = z.looseObject({ taskId: upstreamId })

/** `data` of record-info, as far as we look at it. `paramJson` holds our callback token: it is never read. */
const recordInfo = z.looseObject({
  successFlag: integerLike.nullish().catch(null),
  errorCode: integerLike.nullish().catch(null),
  resultInfoJson: z.unknown().optional(),
})

const resultUrls = z
  .array(z.unknown())
  .nullish()
  .catch(null)
  .describe(
    'Items are URLs or objects `{ "resultUrl": URL }`; anything but an absolute http(s) URL is dropped.',
  )

/** A completion callback as the vendor posts it. The task id may stand in three places; they must agree. */
export const callbackBody = z
  .looseObject({
    code: integerLike.describe('200: done. Anything else: the failure, coarsely.'),
    msg: z.unknown().optional().describe('For people; not looked at.'),
    taskId: upstreamId.nullish().describe("The vendor's task id, when it is not in `data`."),
    data: z
      .looseObject({
        taskId: upstreamId.nullish().describe("The vendor's task id."),
        task_id: upstreamId.nullish().describe("The vendor's task id, in its other spelling."),
        promptJson: z.unknown().optional().describe('An echo of the request; not looked at.'),
        resultUrls,
        info: z
          .looseObject({ resultUrls })
          .nullish()
          .catch(null)
          .describe('Where `resultUrls` was seen, too.'),
      })
      .nullish(),
  })
  .meta({
    title: 'Upscale callback',
    description: 'What POST /callbacks/upscale/:taskId/:token takes in.',
  })

/** The answer to a create request that came with this HTTP status, body (parsed, else undefined) and Retry-After. */
export function parseSubmitAnswer(
  httpStatus: number,
  body: unknown,
  retryAfterMs: number | null,
): SubmitAnswer {
  const answer = envelope.safeParse(body)
  if (!answer.success) return refused(toFailure('UPSTREAM_PROTOCOL_ERROR', httpStatus))
  const { code, data } = answer.data
  if (code !== 200) {
    const failure = toUpstreamFailure(code)
    const waits = failure.retryAfterMs !== null && retryAfterMs !== null
    return refused(waits ? { ...failure, retryAfterMs } : failure)
  }
  const task = created.safeParse(data)
  const accepted = httpStatus >= 200 && httpStatus < 300
  if (!accepted) return refused(toFailure('UPSTREAM_PROTOCOL_ERROR', httpStatus))
  if (!task.success) return refused(toFailure('UPSTREAM_PROTOCOL_ERROR', code))
  return { kind: 'accepted', upstreamTaskId: task.data.taskId }
}

/** The answer of record-info. What is not an answer about the task is `unavailable`. */
export function parseLookup(body: unknown): Lookup {
  const answer = envelope.safeParse(body)
  if (!answer.success) return { kind: 'unavailable' }
  const { code, data } = answer.data
  if ((code === 422 || code === 404) && (data === null || data === undefined))
    return { kind: 'absent', upstreamCode: code }
  const record = recordInfo.safeParse(data)
  if (code !== 200 || !record.success) return { kind: 'unavailable' }
  const { successFlag, errorCode, resultInfoJson } = record.data
  switch (successFlag) {
    case 1: {
      const imageUrls = toImageUrls(resultInfoJson)
      return imageUrls.length > 0 ? { kind: 'succeeded', imageUrls } : { kind: 'pending' }
    }
    case 2:
    case 3:
      return { kind: 'failed', failure: toRecordedFailure(errorCode) }
    default:
      return { kind: 'pending' }
  }
}

/** The answer of the credit endpoint; null when it holds no number. */
export function parseCredits(body: unknown): number | null {
  const answer = envelope.safeParse(body)
  const credits = answer.success && answer.data.code === 200 ? answer.data.data : null
  return typeof credits === 'number' && Number.isFinite(credits) ? credits : null
}

/** A callback; undefined when it is none, or when the task ids in it disagree. */
export function parseCallback(body: unknown): CallbackNews | undefined {
  const callback = callbackBody.safeParse(body)
  if (!callback.success) return undefined
  const { code, taskId, data } = callback.data
  const ids = new Set([taskId, data?.taskId, data?.task_id].filter((id) => typeof id === 'string'))
  const [upstreamTaskId] = ids
  if (upstreamTaskId === undefined || ids.size > 1) return undefined
  if (code !== 200) return { upstreamTaskId, outcome: { kind: 'failed', failure: toUpstreamFailure(code) } }
  const imageUrls = [data?.resultUrls, data?.info?.resultUrls].flatMap((urls) => toImageUrls(urls))
  const outcome =
    imageUrls.length > 0 ? { kind: 'succeeded' as const, imageUrls } : { kind: 'inconclusive' as const }
  return { upstreamTaskId, outcome }
}

/** The longest wait that GraphQL's Int can show. */
const MAX_WAIT_MS = 2_147_483_647

/** Milliseconds that a Retry-After header asks for (RFC 9110 §10.2.3: seconds or a date); null when it does not. */
export function parseRetryAfter(header: string | undefined, now: number): number | null {
  if (header === undefined) return null
  if (/^\d{1,6}$/.test(header)) return Number(header) * 1_000
  // Date.parse makes a date of almost anything; an HTTP-date begins with the day's name and holds a time.
  const date = /^[A-Z][a-z]{2,8},? .*\d{2}:\d{2}:\d{2}/.test(header) ? Date.parse(header) : NaN
  return Number.isNaN(date) ? null : Math.min(MAX_WAIT_MS, Math.max(0, date - now))
}

function refused(failure: FailureCause): SubmitAnswer {
  return { kind: 'refused', failure }
}

function toRecordedFailure(errorCode: number | null | undefined): FailureCause {
  return typeof errorCode === 'number' ? toUpstreamFailure(errorCode) : toFailure('GENERATION_FAILED')
}

/** A result lies at most this deep: in a text, an object, a list. */
const MAX_DEPTH = 4

/** Every absolute http(s) URL in a result, whichever of its shapes it has: object, JSON text of one, or list. */
function toImageUrls(result: unknown, depth = 0): string[] {
  if (depth > MAX_DEPTH) return []
  if (typeof result === 'string') return toImageUrls(parseJson(result), depth + 1)
  if (Array.isArray(result)) return result.map(toImageUrl).filter((url) => url !== undefined)
  if (typeof result !== 'object' || result === null) return []
  if ('resultUrls' in result && result.resultUrls) return toImageUrls(result.resultUrls, depth + 1)
  return 'result_urls' in result ? toImageUrls(result.result_urls, depth + 1) : []
}

function toImageUrl(item: unknown): string | undefined {
  const text = typeof item === 'object' && item !== null && 'resultUrl' in item ? item.resultUrl : item
  if (typeof text !== 'string' || !URL.canParse(text)) return undefined
  const url = new URL(text)
  return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : undefined
}

/** The JSON in a text; undefined when there is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
