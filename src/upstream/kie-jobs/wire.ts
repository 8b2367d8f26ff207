/** The wire format of kie.ai's jobs, parsed leniently. Nothing in this file throws. */
import * as z from 'zod'
import type { Callback, PollAnswer } from '../../tasks/engines/engine-ports.ts'
import { toFailure, toUpstreamFailure } from '../../tasks/failure.ts'
import { findTaskId, parseRecordAnswer } from '../kie-midjourney/wire.ts'
import { parseResult } from '../result-urls.ts'
import { integerLike, toConsumption, upstreamId } from '../values.ts'

/** The fields of a record that are read. `param` is never read: it contains our callback token. */
const job = z.looseObject({
  state: z.string().nullish().catch(null),
  resultJson: z.unknown().optional(),
  failCode: integerLike.nullish().catch(null),
  creditsConsumed: z.unknown().optional(),
})
type Job = z.infer<typeof job>

const callbackBody = z.looseObject({
  code: integerLike,
  taskId: upstreamId.nullish(),
  data: z.looseObject({ taskId: upstreamId.nullish(), task_id: upstreamId.nullish() }).nullish(),
})

/** Parses the answer of recordInfo. An answer that says nothing about the task is `unavailable`. */
export function parsePollAnswer(body: unknown): PollAnswer {
  return parseRecordAnswer(body, (data): PollAnswer | undefined => {
    const record = job.safeParse(data)
    if (!record.success) return undefined
    if (record.data.state === 'fail') return { ...toFailed(record.data), recorded: true }
    return record.data.state === 'success' ? toSuccess(record.data, 'pending') : { kind: 'pending' }
  })
}

/** Parses a callback; undefined if it is malformed, or if the task ids in it disagree. */
export function parseCallback(body: unknown): Callback | undefined {
  const callback = callbackBody.safeParse(body)
  const upstreamTaskId = callback.success ? findTaskId(callback.data) : undefined
  if (!callback.success || upstreamTaskId === undefined) return undefined
  const { code, data } = callback.data
  const record = job.safeParse(data)
  return { upstreamTaskId, outcome: toOutcome(code, record.success ? record.data : {}) }
}

/** A code and a state that contradict each other are inconclusive. */
function toOutcome(code: number, record: Job): Callback['outcome'] {
  switch (record.state) {
    case 'fail':
      return toFailed(record, code)
    case 'success':
      return code === 200 ? toSuccess(record, 'inconclusive') : { kind: 'inconclusive' }
    case 'waiting':
    case 'queuing':
    case 'generating':
      return { kind: code === 200 ? 'pending' : 'inconclusive' }
    default:
      return code === 200 ? { kind: 'inconclusive' } : toFailed(record, code)
  }
}

/** The failure by the record's code, else by the envelope's code, if that is one. */
function toFailed({ failCode, creditsConsumed }: Job, code = 200) {
  const upstreamCode = failCode ?? (code === 200 ? null : code)
  const failure = upstreamCode === null ? toFailure('GENERATION_FAILED') : toUpstreamFailure(upstreamCode)
  return { kind: 'failed', failure, ...toConsumption(creditsConsumed) } as const
}

/** A success without a usable URL is `otherwise`. */
function toSuccess<Kind extends string>({ resultJson, creditsConsumed }: Job, otherwise: Kind) {
  const { imageUrls, ...dropped } = parseResult(resultJson)
  if (imageUrls.length === 0) return { kind: otherwise, ...dropped }
  return { kind: 'succeeded', imageUrls, ...dropped, ...toConsumption(creditsConsumed) } as const
}
