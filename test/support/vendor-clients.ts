import { expect } from '@jest/globals'

/** What a vendor's documentation says about its wire, for tests that speak to the sandbox as its customer. */
export interface VendorClient {
  readonly name: string
  /** The header of this API key. */
  readonly auth: (key: string) => Record<string, string>
  readonly submit: (parts: { url: string; source: string; index: number; hook: string | null }) => {
    readonly path: string
    readonly body: object
  }
  /** The path that reports a task. */
  readonly poll: (id: string) => string
  readonly unauthorized: object
  readonly accepted: object
  /** The id in an answer or a record; undefined: none. */
  readonly idOf: (answer: Fields) => unknown
  /** The refusal of the scenario `sandbox-code-<code>`. */
  readonly refused: (code: number) => { readonly status: number; readonly body: object }
  /** The answer to a poll of a running task, of one that succeeded, and of one that failed. */
  readonly running: object
  readonly succeeded: (resultUrl: string) => object
  readonly failed: (code: number) => object
  readonly unknown: { readonly status: number; readonly body: object | '' }
  /** The callbacks before the one of the completion. */
  readonly progress: readonly object[]
  readonly succeededCallback: (id: unknown, resultUrl: string) => object
  readonly failedCallback: (id: unknown, code: number) => object
}

/** An object of JSON. */
export type Fields = Readonly<Record<string, unknown>>

const text: unknown = expect.stringMatching(/./)
const instant: unknown = expect.any(Number)

const bearer = (key: string) => ({ authorization: `Bearer ${key}` })
const refusedByKie = (code: number) => ({ status: 200, body: { code, msg: text, data: null } })
const UNKNOWN_TO_KIE = { status: 200, body: { code: 422, msg: 'recordInfo is null', data: null } }
const idOfKie = ({ data }: Fields) => (data as Fields | null)?.taskId

const kieMidjourney: VendorClient = {
  name: 'kie-midjourney',
  auth: bearer,
  submit: ({ source, index, hook }) => ({
    path: '/api/v1/mj/generateUpscale',
    body: { taskId: source, imageIndex: index, callBackUrl: hook },
  }),
  poll: (id) => `/api/v1/mj/record-info?taskId=${id}`,
  unauthorized: { status: 200, body: { code: 401, msg: text, data: null } },
  accepted: { code: 200, msg: 'success', data: { taskId: text } },
  idOf: idOfKie,
  refused: refusedByKie,
  running: { code: 200, data: { successFlag: 0, resultInfoJson: null, completeTime: null } },
  succeeded: (resultUrl) => ({
    code: 200,
    data: { successFlag: 1, resultInfoJson: { resultUrls: [{ resultUrl }] }, errorCode: null },
  }),
  failed: (code) => ({ code: 200, data: { resultInfoJson: null, errorCode: code, errorMessage: text } }),
  unknown: UNKNOWN_TO_KIE,
  progress: [],
  succeededCallback: (taskId, url) => ({ code: 200, data: { taskId, resultUrls: [url] } }),
  failedCallback: (taskId, code) => ({ code, msg: text, data: { taskId, resultUrls: [] } }),
}

const kieJobs: VendorClient = {
  name: 'kie-jobs',
  auth: bearer,
  submit: ({ url, source, index, hook }) => ({
    path: '/api/v1/jobs/createTask',
    body: {
      model: 'recraft/crisp-upscale',
      ...(hook !== null && { callBackUrl: hook }),
      input: { image: `${url}/pictures/${index}.png?${new URLSearchParams({ source }).toString()}` },
    },
  }),
  poll: (id) => `/api/v1/jobs/recordInfo?taskId=${id}`,
  unauthorized: { status: 200, body: { code: 401, msg: text, data: null } },
  accepted: { code: 200, msg: 'success', data: { taskId: text } },
  idOf: idOfKie,
  refused: refusedByKie,
  running: {
    code: 200,
    data: {
      model: 'recraft/crisp-upscale',
      state: expect.stringMatching(/^(waiting|queuing|generating)$/),
      resultJson: '',
      costTime: null,
      createTime: instant,
      completeTime: null,
      creditsConsumed: 0,
    },
  },
  succeeded: (url) => ({
    code: 200,
    data: {
      state: 'success',
      resultJson: JSON.stringify({ resultUrls: [url] }),
      failCode: '',
      costTime: instant,
      completeTime: instant,
      creditsConsumed: 10,
    },
  }),
  failed: (code) => ({
    code: 200,
    data: { state: 'fail', resultJson: '', failCode: String(code), failMsg: text, creditsConsumed: 0 },
  }),
  unknown: UNKNOWN_TO_KIE,
  progress: [],
  succeededCallback: (taskId, url) => ({
    code: 200,
    data: {
      taskId,
      state: 'success',
      resultJson: JSON.stringify({ resultUrls: [url] }),
      creditsConsumed: 10,
    },
  }),
  failedCallback: (taskId, code) => ({
    code,
    msg: text,
    data: { taskId, state: 'fail', failCode: String(code), failMsg: text, creditsConsumed: 0 },
  }),
}

/** The proxy's own codes; 9 for all others. */
const PROXY_CODES: Record<number, number> = { 400: 4, 404: 3, 422: 24, 429: 23 }

const midjourneyProxy: VendorClient = {
  name: 'midjourney-proxy',
  auth: (key) => ({ 'mj-api-secret': key }),
  submit: ({ source, index, hook }) => ({
    path: '/mj/submit/simple-change',
    body: { content: `${source} U${index + 1}`, notifyHook: hook, state: 'mine' },
  }),
  poll: (id) => `/mj/task/${id}/fetch`,
  unauthorized: { status: 401, body: '' },
  accepted: { code: 1, description: text, result: text, properties: {} },
  idOf: ({ result, id }) => result ?? id,
  refused: (code) => ({ status: 200, body: { code: PROXY_CODES[code] ?? 9, description: text } }),
  running: { action: 'UPSCALE', status: 'SUBMITTED', imageUrl: null, failReason: null, state: 'mine' },
  succeeded: (imageUrl) => ({ status: 'SUCCESS', progress: '100%', imageUrl, failReason: null }),
  failed: () => ({ status: 'FAILURE', imageUrl: null, failReason: text }),
  unknown: { status: 200, body: '' },
  progress: [
    { status: 'SUBMITTED', finishTime: null },
    { status: 'IN_PROGRESS', progress: '0%', finishTime: null },
    { status: 'IN_PROGRESS', progress: '43%', finishTime: null },
  ],
  succeededCallback: (id, imageUrl) => ({
    id,
    action: 'UPSCALE',
    status: 'SUCCESS',
    imageUrl,
    submitTime: instant,
    startTime: instant,
    finishTime: instant,
    state: 'mine',
  }),
  failedCallback: (id) => ({ id, status: 'FAILURE', imageUrl: null, failReason: text, finishTime: instant }),
}

/** kie.ai's codes that are no HTTP status. */
const NO_STATUS = [433, 455]

const errorOfLegnext = (code: number) => ({ code, message: text, raw_message: text, detail: null })

const refusedByLegnext = (code: number) => {
  const status = NO_STATUS.includes(code) ? 500 : code
  return { status, body: errorOfLegnext(status) }
}

const legnext: VendorClient = {
  name: 'legnext',
  auth: (key) => ({ 'x-api-key': key }),
  submit: ({ source, index, hook }) => ({
    path: '/api/v1/upscale',
    body: { jobId: source, imageNo: index, type: 0, ...(hook !== null && { callback: hook }) },
  }),
  poll: (id) => `/v1/job/${id}`,
  unauthorized: refusedByLegnext(401),
  accepted: {
    job_id: text,
    model: 'midjourney',
    task_type: 'upscale',
    status: 'pending',
    error: { code: 0 },
  },
  idOf: ({ job_id }) => job_id,
  refused: refusedByLegnext,
  running: {
    task_type: 'upscale',
    status: expect.stringMatching(/^(pending|staged|processing)$/),
    output: { image_url: '', image_urls: null },
    meta: { created_at: text, ended_at: '', usage: { type: 'point', frozen: 20, consume: 0 } },
  },
  succeeded: (url) => ({
    status: 'completed',
    output: { image_url: url, image_urls: [url] },
    meta: { started_at: text, ended_at: text, usage: { type: 'point', consume: 20 } },
    error: { code: 0 },
  }),
  failed: (code) => ({ status: 'failed', output: { image_url: '' }, error: errorOfLegnext(code) }),
  unknown: refusedByLegnext(404),
  progress: [],
  succeededCallback: (id, url) => ({ job_id: id, status: 'completed', output: { image_urls: [url] } }),
  failedCallback: (id, code) => ({
    job_id: id,
    status: 'failed',
    meta: { usage: { consume: 0 } },
    error: errorOfLegnext(code),
  }),
}

export const VENDORS = { kieMidjourney, kieJobs, midjourneyProxy, legnext }
