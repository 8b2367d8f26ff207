import * as z from 'zod'
import type { Dialect, Submit, TaskState } from './dialect.ts'
import type { SandboxTask } from './kept-tasks.ts'
import { toBearer, toEnvelope, toMessage, UNKNOWN_RECORD } from './kie.ts'

const CREDITS_PER_TASK = 10

const PICTURE_URL = z.string().refine((text) => URL.canParse(text) && /^https?:/i.test(text))

const COMMON = { callBackUrl: z.string().nullable().catch(null) }

const CREATE_TASK = z.discriminatedUnion('model', [
  z.object({
    ...COMMON,
    model: z.literal('topaz/image-upscale'),
    input: z.object({ image_url: PICTURE_URL, upscale_factor: z.enum(['1', '2', '4']) }),
  }),
  z.object({
    ...COMMON,
    model: z.literal('recraft/crisp-upscale'),
    input: z.object({ image: PICTURE_URL }),
  }),
])

/** kie.ai's endpoints for all other models: a job takes the URL of a picture instead of a source task id. */
export const kieJobs: Dialect = {
  name: 'kie-jobs',
  toKey: toBearer,
  unauthorized: { status: 200, body: toEnvelope(401) },
  submits: [{ path: '/api/v1/jobs/createTask', parse: parseCreateTask }],
  steps: 3,
  announcesSteps: false,
  signsCallbacks: true,
  completesInstantly: false,
  refuse: (code, httpStatus = 200) => ({ status: httpStatus, body: toEnvelope(code) }),
  accept: ({ id }) => ({ status: 200, body: toEnvelope(200, { taskId: id }) }),
  acceptWithoutId: { status: 200, body: toEnvelope(200, {}) },
  isGeneration: () => false,
  toCallback(task, state) {
    const record = toRecord(task, state)
    // Milliseconds in the record, seconds in the callback: so kie.ai documents it.
    const costTime = record.costTime === null ? null : Math.round(record.costTime / 1_000)
    return toEnvelope(state.kind === 'completed' ? state.code : 200, { ...record, costTime })
  },
  addReads(api, reads) {
    api.get<{ Querystring: { taskId?: string } }>('/api/v1/jobs/recordInfo', async ({ query }) => {
      const found = await reads.find(query.taskId ?? '')
      if (!found) return UNKNOWN_RECORD
      // `message` instead of `msg`: so kie.ai documents this endpoint.
      return { code: 200, message: 'success', data: toRecord(found.task, found.state) }
    })
  },
}

function parseCreateTask(body: unknown): Submit | { code: number } {
  const job = CREATE_TASK.safeParse(body).data
  if (job === undefined) return { code: 422 }
  const { model, callBackUrl } = job
  const url = job.model === 'topaz/image-upscale' ? job.input.image_url : job.input.image
  const param = JSON.stringify({ model, callBackUrl, input: job.input })
  return { request: { ...toSource(url), waterMark: null, callBackUrl }, details: { model, param } }
}

/** The source task of a picture that the sandbox has drawn. Any other URL is its own source task. */
function toSource(url: string): { taskId: string; imageIndex: number } {
  const { pathname, searchParams } = new URL(url)
  const [, index] = /\/pictures\/([0-3])\.png$/.exec(pathname) ?? []
  const source = searchParams.get('source')
  return index === undefined || !source
    ? { taskId: url, imageIndex: 0 }
    : { taskId: source, imageIndex: Number(index) }
}

const RUNNING_STATES = ['waiting', 'queuing', 'generating']

function toRecord({ id, details, resultUrl, createdAt }: SandboxTask, state: TaskState) {
  const completed = state.kind === 'completed' ? state : null
  const succeeded = completed?.code === 200
  const failure = completed !== null && !succeeded ? completed.code : null
  const step = state.kind === 'running' ? state.step : 0
  return {
    taskId: id,
    model: details.model,
    state: completed === null ? RUNNING_STATES[step] : succeeded ? 'success' : 'fail',
    param: details.param,
    resultJson: succeeded ? JSON.stringify({ resultUrls: [resultUrl] }) : '',
    failCode: failure === null ? '' : String(failure),
    failMsg: failure === null ? '' : toMessage(failure),
    costTime: completed === null ? null : completed.at - createdAt,
    createTime: createdAt,
    updateTime: completed?.at ?? createdAt,
    completeTime: completed?.at ?? null,
    creditsConsumed: succeeded ? CREDITS_PER_TASK : 0,
  }
}
