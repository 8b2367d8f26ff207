import { createHash, randomUUID } from 'node:crypto'
import * as z from 'zod'
import type { Dialect, Generation, Invalid, Submit, TaskState } from './dialect.ts'
import type { SandboxTask } from './kept-tasks.ts'
import { toMessage } from './kie.ts'

/** The codes of an answer to a submit. */
const SUBMITTED = 1
const NOT_FOUND = 3
const VALIDATION_ERROR = 4
const FAILURE = 9
const EXISTED = 21
const IN_QUEUE = 22
const QUEUE_REJECTED = 23
const BANNED_PROMPT = 24

/** The refusals that are nearest to kie.ai's codes. All other codes are FAILURE. */
const REFUSALS: Record<number, number> = {
  400: VALIDATION_ERROR,
  404: NOT_FOUND,
  422: BANNED_PROMPT,
  429: QUEUE_REJECTED,
  // Its own codes stay as they are, for ids such as `sandbox-midjourney-proxy-code-24`.
  [NOT_FOUND]: NOT_FOUND,
  [VALIDATION_ERROR]: VALIDATION_ERROR,
  [QUEUE_REJECTED]: QUEUE_REJECTED,
  [BANNED_PROMPT]: BANNED_PROMPT,
}

const DESCRIPTIONS: Record<number, string> = {
  [SUBMITTED]: 'Submitted',
  [NOT_FOUND]: 'Not found',
  [VALIDATION_ERROR]: 'Validation error',
  [FAILURE]: 'Failure',
  [EXISTED]: 'The task exists already',
  [IN_QUEUE]: 'In the queue, 1 task ahead',
  [QUEUE_REJECTED]: 'The queue is full, try again later',
  [BANNED_PROMPT]: 'The prompt may contain banned words',
}

const COMMON = { notifyHook: z.string().nullable().catch(null), state: z.string().catch('') }
const SIMPLE_CHANGE = z.object({ ...COMMON, content: z.string().regex(/^.+ U[1-4]$/s) })
const ACTION = z.object({
  ...COMMON,
  taskId: z.string().min(1),
  customId: z.string().regex(/^MJ::JOB::upsample::[1-4]::/),
})

/** The self-hosted midjourney-proxy family. Callbacks report each change; indexes count from 1. */
export const midjourneyProxy: Dialect = {
  name: 'midjourney-proxy',
  toKey: (headers) => String(headers['mj-api-secret'] ?? ''),
  unauthorized: { status: 401, body: '' },
  submits: [
    { path: '/mj/submit/action', parse: parseAction },
    { path: '/mj/submit/simple-change', parse: parseSimpleChange },
  ],
  steps: 3,
  announcesSteps: true,
  signsCallbacks: false,
  completesInstantly: false,
  refuse: (code, httpStatus = 200) => ({ status: httpStatus, body: toRefusal(REFUSALS[code] ?? FAILURE) }),
  accept: ({ id }, _state, extra) =>
    extra === 'queued'
      ? toAnswer(IN_QUEUE, id, { numberOfQueues: 1 })
      : toAnswer(SUBMITTED, id, { discordInstanceId: 'sandbox' }),
  acceptWithoutId: {
    status: 200,
    body: { code: SUBMITTED, description: DESCRIPTIONS[SUBMITTED], properties: {} },
  },
  answerExisting(task, state) {
    const { status, imageUrl } = toRecord(task, state)
    return toAnswer(EXISTED, task.id, { status, ...(imageUrl !== null && { imageUrl }) })
  },
  isGeneration: (id) => id !== '',
  toCallback: toRecord,
  addReads(api, reads) {
    api.get<{ Params: { id: string } }>('/mj/task/:id/fetch', async (incoming, reply) => {
      const { id } = incoming.params
      const found = await reads.find(id)
      if (found) return toRecord(found.task, found.state)
      const generation = await reads.findGeneration(id, incoming)
      // The original answers null, which is an HTTP 200 without a body.
      return generation ? toSourceRecord(id, generation) : reply.send('')
    })
  },
}

function parseAction(body: unknown): Submit | Invalid {
  const action = ACTION.safeParse(body).data
  if (action === undefined) return { code: VALIDATION_ERROR }
  const { taskId, customId, notifyHook, state } = action
  const index = [0, 1, 2, 3].find((imageIndex) => customId === toCustomId(taskId, imageIndex))
  // A button of another task.
  if (index === undefined) return { code: NOT_FOUND }
  return { request: toRequest(taskId, index, notifyHook), details: { state } }
}

function parseSimpleChange(body: unknown): Submit | Invalid {
  const change = SIMPLE_CHANGE.safeParse(body).data
  if (change === undefined) return { code: VALIDATION_ERROR }
  const { content, notifyHook, state } = change
  const [taskId, number] = [content.slice(0, -' U1'.length), Number(content.at(-1))]
  return { request: toRequest(taskId, number - 1, notifyHook), details: { state } }
}

function toRequest(taskId: string, imageIndex: number, callBackUrl: string | null) {
  return { taskId, imageIndex, waterMark: null, callBackUrl }
}

function toAnswer(code: number, result: string, properties: object) {
  return { status: 200, body: { code, description: DESCRIPTIONS[code], result, properties } }
}

function toRefusal(code: number): object {
  const refusal = { code, description: DESCRIPTIONS[code] }
  switch (code) {
    case QUEUE_REJECTED:
      // The id of a task that is not queued and that `fetch` does not know.
      return {
        ...refusal,
        result: randomUUID().replaceAll('-', ''),
        properties: { discordInstanceId: 'sandbox' },
      }
    case BANNED_PROMPT:
      return { ...refusal, properties: { promptEn: 'a banned word', bannedWord: 'banned' } }
    default:
      return { ...refusal, properties: {} }
  }
}

const RUNNING_STATES = [
  { status: 'SUBMITTED', progress: '' },
  { status: 'IN_PROGRESS', progress: '0%' },
  { status: 'IN_PROGRESS', progress: '43%' },
]

/** How a task appears in `fetch` and in a callback. */
function toRecord({ id, request, details, resultUrl, createdAt }: SandboxTask, state: TaskState) {
  const record = {
    id,
    action: 'UPSCALE',
    description: `/up ${request.taskId} U${request.imageIndex + 1}`,
    state: details.state ?? '',
    submitTime: createdAt,
    imageUrl: null,
    failReason: null,
    finishTime: null,
  }
  if (state.kind === 'running')
    return { ...record, ...RUNNING_STATES[state.step], startTime: state.step > 0 ? createdAt : null }
  const ended = { ...record, startTime: createdAt, finishTime: state.at, progress: '100%' }
  return state.code === 200
    ? { ...ended, status: 'SUCCESS', imageUrl: resultUrl }
    : { ...ended, status: 'FAILURE', failReason: toMessage(state.code) }
}

/** The id of the button that upscales one of the four pictures. */
function toCustomId(sourceTaskId: string, imageIndex: number): string {
  const hash = createHash('sha256').update(sourceTaskId).digest('hex').slice(0, 32)
  return `MJ::JOB::upsample::${imageIndex + 1}::${hash}`
}

/** The record of a generation: one grid, and the buttons that continue from it. */
function toSourceRecord(id: string, { grid }: Generation) {
  const buttons = [0, 1, 2, 3].map((index) => ({
    customId: toCustomId(id, index),
    emoji: '',
    label: `U${index + 1}`,
    type: 2,
    style: 2,
  }))
  return {
    id,
    action: 'IMAGINE',
    status: 'SUCCESS',
    progress: '100%',
    imageUrl: grid,
    failReason: null,
    buttons,
  }
}
