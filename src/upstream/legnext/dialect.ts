import type { Dialect, DialectSubmit } from '../dialect.ts'
import { saysNoEndpoint } from '../submit-rule.ts'
import { findWaterMark } from '../unsupported.ts'
import { CODES } from './codes.ts'
import {
  findErrorCode,
  parseCallback,
  parseCredits,
  parsePollAnswer,
  parseSource,
  parseSubmitAnswer,
} from './wire.ts'

/** The conservative upscale, which keeps the details of the original. */
const SUBTLE = 0

/** LegNext's Midjourney API. */
export const legnext: Dialect = {
  toHeaders: (apiKey) => ({ 'x-api-key': apiKey }),
  signsCallbacks: false,
  needsSourceUrl: false,
  findUnsupported: findWaterMark,
  toSubmit: (request) => ({ path: '/api/v1/upscale', body: toBody(request) }),
  parseSubmit: parseSubmitAnswer,
  isEndpointMissing: (answer) => saysNoEndpoint(answer) && findErrorCode(answer.status, answer.body) === null,
  toPollPath: toJobPath,
  parsePoll: parsePollAnswer,
  source: { toPath: toJobPath, parse: parseSource },
  credits: { path: '/api/account/balance', parse: parseCredits },
  parseCallback,
  codes: CODES,
}

function toBody({ sourceTaskId, imageIndex, callBackUrl }: DialectSubmit) {
  return {
    jobId: sourceTaskId,
    imageNo: imageIndex,
    type: SUBTLE,
    ...(callBackUrl !== null && { callback: callBackUrl }),
  }
}

function toJobPath(jobId: string): string {
  return `/api/v1/job/${encodeURIComponent(jobId)}`
}
