import { STATUS_CODES } from 'node:http'
import * as z from 'zod'
import type { Answer, Dialect, Generation, Invalid, Submit, TaskState } from './dialect.ts'
import type { SandboxTask } from './kept-tasks.ts'
import { toMessage } from './kie.ts'

const POINTS_PER_TASK = 20

const UPSCALE = z.object({
  jobId: z.string().min(1),
  imageNo: z.int().min(0).max(3),
  type: z.literal([0, 1]),
  callback: z.string().nullable().catch(null),
})

/** LegNext. A refusal is an HTTP status; a task is the same record in every answer and in the callback. */
export const legnext: Dialect = {
  name: 'legnext',
  toKey: (headers) => String(headers['x-api-key'] ?? ''),
  unauthorized: refuse(401),
  submits: [
    { path: '/api/v1/upscale', parse: parseUpscale },
    { path: '/v1/upscale', parse: parseUpscale },
  ],
  steps: 3,
  announcesSteps: false,
  signsCallbacks: false,
  completesInstantly: true,
  refuse,
  accept: (task, state) => ({ status: 200, body: toRecord(task, state) }),
  acceptWithoutId: { status: 200, body: { model: 'midjourney', task_type: 'upscale', status: 'pending' } },
  isGeneration: (id) => id !== '',
  toCallback: toRecord,
  addReads(api, reads) {
    for (const path of ['/api/v1/job/:id', '/v1/job/:id'])
      api.get<{ Params: { id: string } }>(path, async (incoming, reply) => {
        const { id } = incoming.params
        const found = await reads.find(id)
        if (found) return toRecord(found.task, found.state)
        const generation = await reads.findGeneration(id, incoming)
        if (generation) return toSourceRecord(id, generation)
        const { status, body } = refuse(404)
        return reply.code(status).send(body)
      })
    api.get('/api/account/balance', async () => {
      const credits = await reads.credits()
      return { code: 200, message: 'success', data: { available_credits: credits, available_points: 0 } }
    })
  },
}

function parseUpscale(body: unknown): Submit | Invalid {
  const upscale = UPSCALE.safeParse(body).data
  if (upscale === undefined) return { code: 400 }
  const { jobId: taskId, imageNo: imageIndex, callback: callBackUrl } = upscale
  return { request: { taskId, imageIndex, waterMark: null, callBackUrl } }
}

/**
 * A kie.ai code that is an HTTP status of a failure is one here too, with the same code. All others are 500.
 */
function refuse(code: number, httpStatus?: number): Answer {
  const own = code >= 400 && STATUS_CODES[code] !== undefined ? code : 500
  return { status: httpStatus ?? own, body: toError(httpStatus === undefined ? own : code) }
}

function toError(code: number) {
  const message = toMessage(code)
  return { code, message, raw_message: message, detail: null }
}

const NO_ERROR = { code: 0, message: '', raw_message: '', detail: null }

const RUNNING_STATES = ['pending', 'staged', 'processing']

function toRecord({ id, request, resultUrl, createdAt }: SandboxTask, state: TaskState) {
  const completed = state.kind === 'completed' ? state : null
  const succeeded = completed?.code === 200
  const step = state.kind === 'running' ? state.step : 0
  const created = new Date(createdAt).toISOString()
  return {
    ...toJob(id, 'upscale', request.callBackUrl),
    status: completed === null ? RUNNING_STATES[step] : succeeded ? 'completed' : 'failed',
    output: { image_url: succeeded ? resultUrl : '', image_urls: succeeded ? [resultUrl] : null },
    meta: {
      created_at: created,
      started_at: completed !== null || step === 2 ? created : '',
      ended_at: completed === null ? '' : new Date(completed.at).toISOString(),
      usage: { type: 'point', frozen: POINTS_PER_TASK, consume: succeeded ? POINTS_PER_TASK : 0 },
    },
    error: completed === null || succeeded ? NO_ERROR : toError(completed.code),
  }
}

function toJob(id: string, taskType: string, callback: string | null) {
  const webhook = { endpoint: callback ?? '', secret: '' }
  return {
    job_id: id,
    model: 'midjourney',
    task_type: taskType,
    config: { service_mode: 'public', webhook_config: webhook },
    input: null,
  }
}

/** The record of a generation: four pictures, and a grid of them. */
function toSourceRecord(id: string, { pictures, grid }: Generation) {
  return {
    ...toJob(id, 'diffusion', null),
    status: 'completed',
    output: { image_url: grid, image_urls: pictures },
    error: NO_ERROR,
  }
}
