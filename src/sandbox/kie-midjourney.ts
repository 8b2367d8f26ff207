import * as z from 'zod'
import type { Dialect, Generation, TaskState } from './dialect.ts'
import type { SandboxTask } from './kept-tasks.ts'
import { toBearer, toEnvelope, toMessage, UNKNOWN_RECORD } from './kie.ts'

const CREATE_REQUEST = z.object({
  taskId: z.string().min(1),
  imageIndex: z.int().min(0).max(3),
  waterMark: z.string().min(1).nullable().catch(null),
  callBackUrl: z.string().nullable().catch(null),
})

/**
 * Any id without the form of the sandbox's own ids. The adapter kie-jobs reads the pictures of an id before
 * its first submit.
 */
const GENERATION = /^(?![0-9a-f]{32}$)./i

/** kie.ai's Midjourney endpoints. A refusal is a code in the body of an HTTP 200. */
export const kieMidjourney: Dialect = {
  name: 'kie-midjourney',
  toKey: toBearer,
  unauthorized: { status: 200, body: toEnvelope(401) },
  submits: [
    {
      path: '/api/v1/mj/generateUpscale',
      parse(body) {
        const request = CREATE_REQUEST.safeParse(body).data
        return request === undefined ? { code: 422 } : { request }
      },
    },
  ],
  steps: 0,
  announcesSteps: false,
  signsCallbacks: true,
  completesInstantly: false,
  refuse: (code, httpStatus = 200) => ({ status: httpStatus, body: toEnvelope(code) }),
  accept: ({ id }) => ({ status: 200, body: toEnvelope(200, { taskId: id }) }),
  acceptWithoutId: { status: 200, body: toEnvelope(200, {}) },
  isGeneration: (id) => GENERATION.test(id),
  toCallback({ id, request: { taskId }, resultUrl }, state) {
    const code = state.kind === 'completed' ? state.code : 200
    const resultUrls = code === 200 ? [resultUrl] : []
    return toEnvelope(code, { taskId: id, promptJson: JSON.stringify({ taskId }), resultUrls })
  },
  addReads(api, reads) {
    api.get<{ Querystring: { taskId?: string } }>('/api/v1/mj/record-info', async (incoming) => {
      const { taskId: id = '' } = incoming.query
      const found = await reads.find(id)
      if (found) return toEnvelope(200, toRecord(found.task, found.state))
      const generation = await reads.findGeneration(id, incoming)
      return generation ? toEnvelope(200, toSourceRecord(id, generation)) : UNKNOWN_RECORD
    })
    // Also the balance of kie-jobs, which has the same account.
    api.get('/api/v1/chat/credit', async () => toEnvelope(200, await reads.credits()))
  },
}

function toRecord({ id, request, resultUrl, createdAt }: SandboxTask, state: TaskState) {
  const completed = state.kind === 'completed' ? state : null
  const failure = completed !== null && completed.code !== 200 ? completed.code : null
  return {
    taskId: id,
    taskType: 'mj_upscale',
    paramJson: JSON.stringify(request),
    createTime: new Date(createdAt).toISOString(),
    completeTime: completed === null ? null : new Date(completed.at).toISOString(),
    resultInfoJson: completed?.code === 200 ? { resultUrls: [{ resultUrl }] } : null,
    successFlag: completed === null ? 0 : failure === null ? 1 : failure === 501 ? 3 : 2,
    errorCode: failure,
    errorMessage: failure === null ? null : toMessage(failure),
  }
}

/** The record of a generation: four pictures. */
function toSourceRecord(id: string, { pictures }: Generation) {
  return {
    taskId: id,
    taskType: 'mj_txt2img',
    resultInfoJson: { resultUrls: pictures.map((resultUrl) => ({ resultUrl })) },
    successFlag: 1,
    errorCode: null,
    errorMessage: null,
  }
}
