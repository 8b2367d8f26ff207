import { describeEngine, type EngineFacts } from './engine.ts'

const KIE_REFUSALS: EngineFacts['refusals'] = {
  400: ['UPSTREAM_BAD_REQUEST', 400],
  402: ['INSUFFICIENT_CREDITS', 402],
  429: ['UPSTREAM_RATE_LIMITED', 429],
  455: ['UPSTREAM_MAINTENANCE', 455],
  505: ['FEATURE_DISABLED', 505],
  599: ['UPSTREAM_PROTOCOL_ERROR', 599],
}
const KIE: Omit<EngineFacts, 'adapter'> = {
  signsCallbacks: true,
  sourcePictures: 4,
  refusals: KIE_REFUSALS,
  failure: ['UPSTREAM_SERVER_ERROR', 500],
  notFoundCode: 422,
  progressCallbacks: 0,
  creditsConsumed: null,
  reportsCredits: true,
  terminalSource: null,
  wrongKey: ['UPSTREAM_UNAUTHORIZED', 401],
  unsupported: [],
}
const KIE_JOBS: EngineFacts = {
  ...KIE,
  adapter: 'kie-jobs',
  creditsConsumed: 10,
  wrongKey: null,
  unsupported: [[{ waterMark: 'mark' }, 'waterMark']],
}

describeEngine('kie-midjourney', { ...KIE, adapter: 'kie-midjourney' })
describeEngine('kie-jobs with topaz/image-upscale', { ...KIE_JOBS, options: { factor: 4 } })
describeEngine('kie-jobs with recraft/crisp-upscale', {
  ...KIE_JOBS,
  options: { model: 'recraft/crisp-upscale' },
})
describeEngine('midjourney-proxy', {
  adapter: 'midjourney-proxy',
  signsCallbacks: false,
  sourcePictures: 1,
  refusals: {
    3: ['UPSTREAM_NOT_FOUND', 3],
    4: ['UPSTREAM_VALIDATION_FAILED', 4],
    9: ['UPSTREAM_PROTOCOL_ERROR', 9],
    23: ['UPSTREAM_RATE_LIMITED', 23],
    24: ['UPSTREAM_VALIDATION_FAILED', 24],
  },
  failure: ['GENERATION_FAILED', null],
  notFoundCode: 404,
  progressCallbacks: 3,
  creditsConsumed: null,
  reportsCredits: false,
  terminalSource: 'sandbox-existing',
  wrongKey: ['UPSTREAM_UNAUTHORIZED', 401],
  unsupported: [
    [{ sourceTaskId: 'two words' }, 'taskId'],
    [{ sourceTaskId: 'two\u00a0words', waterMark: 'mark' }, 'taskId'],
    [{ waterMark: 'mark' }, 'waterMark'],
  ],
})
describeEngine('legnext', {
  adapter: 'legnext',
  signsCallbacks: false,
  sourcePictures: 4,
  refusals: {
    400: ['UPSTREAM_BAD_REQUEST', 400],
    401: ['UPSTREAM_UNAUTHORIZED', 401],
    402: ['INSUFFICIENT_CREDITS', 402],
    403: ['UPSTREAM_VALIDATION_FAILED', 403],
    422: ['UPSTREAM_VALIDATION_FAILED', 422],
    429: ['UPSTREAM_RATE_LIMITED', 429],
  },
  failure: ['UPSTREAM_SERVER_ERROR', 500],
  notFoundCode: 404,
  progressCallbacks: 0,
  creditsConsumed: 20,
  reportsCredits: true,
  terminalSource: 'sandbox-instant',
  wrongKey: ['UPSTREAM_UNAUTHORIZED', 401],
  unsupported: [[{ waterMark: 'mark' }, 'waterMark']],
})
