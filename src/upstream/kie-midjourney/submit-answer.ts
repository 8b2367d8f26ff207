/** The answer of kie.ai's Midjourney API to a submit. */
import * as z from 'zod'
import type { SubmitAnswer } from '../../tasks/engines/engine-ports.ts'
import { toUpstreamFailure } from '../../tasks/failure.ts'
import { parseStatus, toRefusal } from '../submit-rule.ts'
import { upstreamId } from '../values.ts'
import { envelope } from './wire.ts'

const created = z.looseObject({ taskId: upstreamId })

/** `body` is the parsed JSON, undefined if there is none. */
export function parseSubmitAnswer(
  httpStatus: number,
  body: unknown,
  retryAfterMs: number | null,
): SubmitAnswer {
  const answer = envelope.safeParse(body)
  if (!answer.success) return parseStatus(httpStatus, retryAfterMs)
  const { code, data } = answer.data
  if (code !== 200) return toRefusal(toUpstreamFailure(code), retryAfterMs)
  const task = created.safeParse(data)
  const isSuccess = httpStatus >= 200 && httpStatus < 300
  if (isSuccess && task.success) return { kind: 'accepted', upstreamTaskId: task.data.taskId }
  return {
    kind: 'unknown',
    note: `not understood: HTTP ${httpStatus}, code 200${task.success ? '' : ', no task id'}`,
  }
}
