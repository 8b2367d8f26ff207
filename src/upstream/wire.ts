/**
 * The vendor's wire format, parsed leniently: every known shape becomes one of our values, every surprise a typed
 * failure or "unknown". Nothing in this file throws.
 *
 * The rule for the paid request: a refusal needs evidence. Evidence is an envelope with a code other than 200, an
 * HTTP status that proves that the origin did not run the request, or (in upscaler.ts) a connection that was never
 * established. After any other answer the task may have been accepted and charged: the outcome is unknown.
 */
import { z } from 'zod'
import { toFailure, toUpstreamFailure, type FailureCause, type UpscaleErrorCode } from '../tasks/failure.ts'
import type { CallbackNews, Lookup, Result, SubmitAnswer } from '../tasks/ports.ts'

/** An integer that fits GraphQL's Int, also as a string. */
const integerLike = z.union([
  z.int32(),
  z
    .string()
    .regex(/^-?\d{1,9}$/)
    .transform(Number),
])

/** A vendor's task id: text without control characters or lone surrogates, or an exact integer. */
const upstreamId = z.union([
  z
    .string()
    .max(256)
    .regex(/^[^\p{Cc}\p{Cs}]+$/u),
  z.int().transform(String),
])

/** The wrapper of every answer. A body without an integer-like `code` is not an envelope. */
const envelope = z.looseObject({ code: integerLike, data: z.unknown().optional() })

const created = z.looseObject({ taskId: upstreamId })

/** The fields of record-info that are read. `paramJson` holds our callback token: it is never read. */
const recordInfo = z.looseObject({
  successFlag: integerLike.nullish().catch(null),
  errorCode: integerLike.nullish().catch(null),
  resultInfoJson: z.unknown().optional(),
})

const resultUrls = z
  .unknown()
  .optional()
  .describe(
    'A list of URLs or of objects `{ "resultUrl": URL }`, or one URL. Only absolute http(s) URLs without user info are kept.',
  )

/** A completion callback as the vendor posts it. The task id may appear in three places; they must agree. */
export const callbackBody = z
  .looseObject({
    code: integerLike.describe('200: done. Any other number: a coarse failure code.'),
    msg: z.unknown().optional().describe('For people; not read.'),
    taskId: upstreamId.nullish().describe("The vendor's task id, when it is not in `data`."),
    data: z
      .looseObject({
        taskId: upstreamId.nullish().describe("The vendor's task id."),
        task_id: upstreamId.nullish().describe("The vendor's task id, in its other spelling."),
        promptJson: z.unknown().optional().describe('An echo of the request; not read.'),
        resultUrls,
        info: z
          .looseObject({ resultUrls })
          .nullish()
          .catch(null)
          .describe('Also holds `resultUrls` at times.'),
      })
      .nullish(),
  })
  .meta({
    title: 'Upscale callback',
    description: 'The body of POST /callbacks/upscale/:taskId/:token.',
  })

/**
 * HTTP statuses that prove, without an envelope, that the origin did not run the request: a proxy or CDN sent them in its
 * place (407 and 511 ask us to log in there; 521–523, 525, 526 and 530 are Cloudflare's), or they come before any handler
 * runs. 500, 502, 504, 520 and 524 prove nothing: the origin may have taken the task.
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

/** Reads the answer to a create request. `body` is the parsed JSON, undefined where there was none. */
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
  const accepted = httpStatus >= 200 && httpStatus < 300
  if (accepted && task.success) return { kind: 'accepted', upstreamTaskId: task.data.taskId }
  return {
    kind: 'unknown',
    note: `not understood: HTTP ${httpStatus}, code 200${task.success ? '' : ', no task id'}`,
  }
}

function parseWithoutEnvelope(httpStatus: number, retryAfterMs: number | null): SubmitAnswer {
  const code = NOT_RUN.get(httpStatus)
  if (code === undefined)
    return { kind: 'unknown', note: `not understood: HTTP ${httpStatus} without an envelope` }
  const failure: FailureCause = { ...toFailure(code, httpStatus), nothingCharged: true }
  return {
    kind: 'refused',
    failure: withWait(failure, retryAfterMs),
    note: `refused before the upscale service ran it: HTTP ${httpStatus} without an envelope`,
  }
}

/** The failure with the wait that Retry-After names, where waiting helps at all. */
function withWait(failure: FailureCause, retryAfterMs: number | null): FailureCause {
  const waits = failure.retryAfterMs !== null && retryAfterMs !== null
  return waits ? { ...failure, retryAfterMs } : failure
}

/** Envelope codes of record-info that are about the task. Any other code except 200 is about the request. */
const TASK_FAILURES = [408, 500, 501, 505]

/** Reads the answer of record-info. An answer that says nothing about the task is `unavailable`. */
export function parseLookup(body: unknown): Lookup {
  const answer = envelope.safeParse(body)
  if (!answer.success) return { kind: 'unavailable' }
  const { code, data } = answer.data
  if ((code === 422 || code === 404) && (data === null || data === undefined))
    return { kind: 'absent', upstreamCode: code }
  const isFailure = TASK_FAILURES.includes(code)
  if (code !== 200 && !isFailure) return { kind: 'unavailable' }
  const record = recordInfo.safeParse(data)
  const found: Lookup = record.success ? parseRecord(record.data) : { kind: 'unavailable' }
  const isOpen = found.kind === 'pending' || found.kind === 'unavailable'
  return isFailure && isOpen
    ? { kind: 'failed', failure: toUpstreamFailure(code), recorded: record.success }
    : found
}

/** The state of the task in a record. */
function parseRecord({ successFlag, errorCode, resultInfoJson }: z.infer<typeof recordInfo>): Lookup {
  switch (successFlag) {
    case 1: {
      const { imageUrls, ...dropped } = parseResult(resultInfoJson)
      return imageUrls.length > 0
        ? { kind: 'succeeded', imageUrls, ...dropped }
        : { kind: 'pending', ...dropped }
    }
    case 2:
    case 3:
      return { kind: 'failed', failure: toRecordedFailure(errorCode), recorded: true }
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

/** Parses a callback; undefined if it is malformed, or if the task ids in it disagree. */
export function parseCallback(body: unknown): CallbackNews | undefined {
  const callback = callbackBody.safeParse(body)
  if (!callback.success) return undefined
  const { code, taskId, data } = callback.data
  const ids = new Set([taskId, data?.taskId, data?.task_id].filter((id) => typeof id === 'string'))
  const [upstreamTaskId] = ids
  if (upstreamTaskId === undefined || ids.size > 1) return undefined
  if (code !== 200) return { upstreamTaskId, outcome: { kind: 'failed', failure: toUpstreamFailure(code) } }
  const { imageUrls, ...dropped } = parseResult([data?.resultUrls, data?.info?.resultUrls])
  if (imageUrls.length === 0) return { upstreamTaskId, outcome: { kind: 'inconclusive', ...dropped } }
  return { upstreamTaskId, outcome: { kind: 'succeeded', imageUrls, ...dropped } }
}

function toRecordedFailure(errorCode: number | null | undefined): FailureCause {
  return typeof errorCode === 'number' ? toUpstreamFailure(errorCode) : toFailure('GENERATION_FAILED')
}

/** A result is nested at most this deep: text, object, list, item, and room for one more. */
const MAX_DEPTH = 5
/** An upscale has one image, a generation four. Every image is part of every event, so their number is bounded. */
const MAX_IMAGES = 16
/** Signed URLs of object stores have about 2,000 characters at most. */
const MAX_URL_LENGTH = 4_096

/** The usable URLs of a result, each once and in order, and how many others were dropped. */
function parseResult(result: unknown): Result {
  const all = collectUrls(result, 0).map(toImageUrl)
  const usable = all.filter((url) => url !== undefined)
  const urls = [...new Set(usable)]
  const imageUrls = urls.slice(0, MAX_IMAGES)
  const dropped = all.length - usable.length + urls.length - imageUrls.length
  return { imageUrls, ...(dropped > 0 && { dropped }) }
}

/** The texts in the place of URLs, in any known shape: object, JSON text, list, or one URL. */
function collectUrls(result: unknown, depth: number): string[] {
  if (depth > MAX_DEPTH) return []
  if (typeof result === 'string') {
    const parsed = parseJson(result)
    return parsed === undefined ? [result] : collectUrls(parsed, depth + 1)
  }
  if (Array.isArray(result)) return result.flatMap((item) => collectUrls(item, depth + 1))
  if (typeof result !== 'object' || result === null) return []
  for (const key of ['resultUrls', 'result_urls', 'resultUrl'])
    if (Object.hasOwn(result, key)) {
      const value: unknown = Reflect.get(result, key)
      if (value) return collectUrls(value, depth + 1)
    }
  return []
}

/** An absolute http(s) URL without user info and of bounded length; undefined for any other text. */
function toImageUrl(text: string): string | undefined {
  if (text.length > MAX_URL_LENGTH || !URL.canParse(text)) return undefined
  const { protocol, username, password, href } = new URL(text)
  const web = protocol === 'https:' || protocol === 'http:'
  return web && username === '' && password === '' && href.length <= MAX_URL_LENGTH ? href : undefined
}

/** Parses JSON; undefined if the text is not JSON. An integer that a number cannot hold exactly becomes its digits. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text, keepDigits)
  } catch {
    return undefined
  }
}

/** A task id of 20 digits must not lose its last ones. */
function keepDigits(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  const isInexact = typeof value === 'number' && !Number.isSafeInteger(value)
  const source = context?.source ?? ''
  return isInexact && /^-?\d+$/.test(source) ? source : value
}
