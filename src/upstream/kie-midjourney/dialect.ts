import { CATALOGUE, UPSCALE_ERROR_CODES } from '../../tasks/failure.ts'
import type { Dialect, DialectCode, DialectSubmit, SourcePictures, WireAnswer } from '../dialect.ts'
import { saysNoEndpoint } from '../submit-rule.ts'
import { parseSubmitAnswer } from './submit-answer.ts'
import { parseCallback, parseCredits, parsePollAnswer, parseSourceRecord } from './wire.ts'

/** kie.ai's Midjourney upscale. Other vendors serve the same API. */
export const kieMidjourney: Dialect = {
  toHeaders: (apiKey) => ({ authorization: `Bearer ${apiKey}` }),
  signsCallbacks: true,
  needsSourceUrl: false,
  findUnsupported: () => null,
  toSubmit: (request) => ({ path: '/api/v1/mj/generateUpscale', body: toBody(request) }),
  parseSubmit: ({ status, body, retryAfterMs }) => parseSubmitAnswer(status, body, retryAfterMs),
  // A code 404 in an HTTP 200 is about the source task.
  isEndpointMissing: saysNoEndpoint,
  toPollPath: toRecordPath,
  parsePoll: ({ body }) => parsePollAnswer(body),
  source: { toPath: toRecordPath, parse: parseSource },
  credits: { path: '/api/v1/chat/credit', parse: ({ body }) => parseCredits(body) },
  parseCallback,
  codes: UPSCALE_ERROR_CODES.flatMap((code): DialectCode[] => {
    const { upstreamCode, description: meaning } = CATALOGUE[code]
    return upstreamCode === null ? [] : [{ at: 'submit, poll, callback', upstreamCode, meaning, code }]
  }),
}

function toBody({ sourceTaskId, imageIndex, waterMark, callBackUrl }: DialectSubmit) {
  return {
    taskId: sourceTaskId,
    imageIndex,
    ...(waterMark !== null && { waterMark }),
    ...(callBackUrl !== null && { callBackUrl }),
  }
}

function toRecordPath(taskId: string): string {
  return `/api/v1/mj/record-info?taskId=${encodeURIComponent(taskId)}`
}

function parseSource({ body }: WireAnswer): SourcePictures {
  const answer = parsePollAnswer(body)
  // A failure without a record may concern the account or the endpoint.
  if (answer.kind === 'unavailable' || (answer.kind === 'failed' && !answer.recorded)) return 'unavailable'
  return answer.kind === 'succeeded' ? parseSourceRecord(body) : null
}
