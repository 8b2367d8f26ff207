import type { Dialect, DialectSubmit } from '../dialect.ts'
import { findWaterMark } from '../unsupported.ts'
import { CODES } from './codes.ts'
import { saysNoEndpoint } from '../submit-rule.ts'
import { hasCode, parseCallback, parsePollAnswer, parseSource, parseSubmitAnswer } from './wire.ts'

/** The self-hosted midjourney-proxy family. Its image indexes count from 1. */
export const midjourneyProxy: Dialect = {
  toHeaders: (apiKey) => ({ 'mj-api-secret': apiKey }),
  signsCallbacks: false,
  needsSourceUrl: false,
  findUnsupported: (picture) =>
    /\s/u.test(picture.sourceTaskId)
      ? { field: 'taskId', reason: 'it takes no task id with whitespace' }
      : findWaterMark(picture),
  toSubmit: (request) => ({ path: '/mj/submit/simple-change', body: toBody(request) }),
  parseSubmit: parseSubmitAnswer,
  isEndpointMissing: (answer) => saysNoEndpoint(answer) && !hasCode(answer),
  toPollPath: toTaskPath,
  parsePoll: parsePollAnswer,
  source: { toPath: toTaskPath, parse: parseSource },
  credits: null,
  parseCallback,
  codes: CODES,
}

/** The upstream splits `content` at whitespace. */
function toBody({ sourceTaskId, imageIndex, callBackUrl }: DialectSubmit) {
  return {
    content: `${sourceTaskId} U${imageIndex + 1}`,
    ...(callBackUrl !== null && { notifyHook: callBackUrl }),
  }
}

function toTaskPath(taskId: string): string {
  return `/mj/task/${encodeURIComponent(taskId)}/fetch`
}
