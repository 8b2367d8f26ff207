/**
 * The wire format of kie.ai's Midjourney API, parsed leniently: every known shape becomes one of our values,
 * anything else a typed failure or no information. Nothing in this file throws.
 */
import * as z from 'zod'
import { toFailure, toUpstreamFailure } from '../../tasks/failure.ts'
import type { Callback, PollAnswer } from '../../tasks/engines/engine-ports.ts'
import { parsePositions, parseResult } from '../result-urls.ts'
import { integerLike, upstreamId } from '../values.ts'

/** The wrapper of every answer. A body without an integer-like `code` is not an envelope. */
export const envelope = z.looseObject({ code: integerLike, data: z.unknown().optional() })

/** The fields of record-info that are read. `paramJson` is never read: it contains our callback token. */
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

/** A callback as the upstream posts it. The task id may appear in three places; they must agree. */
export const callbackBody = z
  .looseObject({
    code: integerLike.describe('200: done. Any other number: a coarse failure code.'),
    msg: z.unknown().optional().describe('For people; not read.'),
    taskId: upstreamId.nullish().describe("The upstream's task id, when it is not in `data`."),
    data: z
      .looseObject({
        taskId: upstreamId.nullish().describe("The upstream's task id."),
        task_id: upstreamId.nullish().describe("The upstream's task id, in its other spelling."),
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
 * Envelope codes with which record-info reports the failure of a task. Any other code except 200 concerns the
 * request.
 */
const TASK_FAILURES = [408, 500, 501, 505]

/** Parses the answer of record-info. An answer that says nothing about the task is `unavailable`. */
export function parsePollAnswer(body: unknown): PollAnswer {
  return parseRecordAnswer(body, (data) => {
    const record = recordInfo.safeParse(data)
    return record.success ? parseRecord(record.data) : undefined
  })
}

/** Parses an envelope with a record of a task. `parseRecord` returns undefined if there is no record. */
export function parseRecordAnswer(
  body: unknown,
  parseRecord: (data: unknown) => PollAnswer | undefined,
): PollAnswer {
  const answer = envelope.safeParse(body)
  if (!answer.success) return { kind: 'unavailable' }
  const { code, data } = answer.data
  if ((code === 422 || code === 404) && (data === null || data === undefined))
    return { kind: 'notFound', upstreamCode: code }
  const isFailure = TASK_FAILURES.includes(code)
  if (code !== 200 && !isFailure) return { kind: 'unavailable' }
  const record = parseRecord(data)
  const isOpen = record === undefined || record.kind === 'pending'
  return isFailure && isOpen
    ? { kind: 'failed', failure: toUpstreamFailure(code), recorded: record !== undefined }
    : (record ?? { kind: 'unavailable' })
}

/** The state of the task in a record. */
function parseRecord({ successFlag, errorCode, resultInfoJson }: z.infer<typeof recordInfo>): PollAnswer {
  switch (successFlag) {
    case 1: {
      const { imageUrls, ...dropped } = parseResult(resultInfoJson)
      return imageUrls.length > 0
        ? { kind: 'succeeded', imageUrls, ...dropped }
        : { kind: 'pending', ...dropped }
    }
    case 2:
    case 3: {
      const isCode = typeof errorCode === 'number'
      const failure = isCode ? toUpstreamFailure(errorCode) : toFailure('GENERATION_FAILED')
      return { kind: 'failed', failure, recorded: true }
    }
    default:
      return { kind: 'pending' }
  }
}

/** The pictures of the generation in a record. */
export function parseSourceRecord(body: unknown): readonly (string | null)[] | null {
  const answer = envelope.safeParse(body)
  const record = recordInfo.safeParse(answer.data?.data)
  return record.success ? parsePositions(record.data.resultInfoJson) : null
}

/** Parses the answer of the credit endpoint; null if it holds no number. */
export function parseCredits(body: unknown): number | null {
  const answer = envelope.safeParse(body)
  const credits = answer.success && answer.data.code === 200 ? answer.data.data : null
  return typeof credits === 'number' && Number.isFinite(credits) ? credits : null
}

/** Parses a callback; undefined if it is malformed, or if the task ids in it disagree. */
export function parseCallback(body: unknown): Callback | undefined {
  const callback = callbackBody.safeParse(body)
  if (!callback.success) return undefined
  const { code, data } = callback.data
  const upstreamTaskId = findTaskId(callback.data)
  if (upstreamTaskId === undefined) return undefined
  if (code !== 200) return { upstreamTaskId, outcome: { kind: 'failed', failure: toUpstreamFailure(code) } }
  const { imageUrls, ...dropped } = parseResult([data?.resultUrls, data?.info?.resultUrls])
  if (imageUrls.length === 0) return { upstreamTaskId, outcome: { kind: 'inconclusive', ...dropped } }
  return { upstreamTaskId, outcome: { kind: 'succeeded', imageUrls, ...dropped } }
}

interface TaskIds {
  readonly taskId?: string | null | undefined
  readonly data?:
    | { readonly taskId?: string | null | undefined; readonly task_id?: string | null | undefined }
    | null
    | undefined
}

/** The task id of a callback; undefined if there is none, or if several disagree. */
export function findTaskId({ taskId, data }: TaskIds): string | undefined {
  const ids = new Set([taskId, data?.taskId, data?.task_id].filter((id) => typeof id === 'string'))
  return ids.size === 1 ? [...ids][0] : undefined
}
