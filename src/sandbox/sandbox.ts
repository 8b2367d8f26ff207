import { createHmac, randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyReply } from 'fastify'
import got from 'got'
import { createPictures } from './pictures.ts'
import { toScenario, type Scenario } from './scenario.ts'

export interface SandboxOptions {
  /** Folder of pictures; null: they are drawn. */
  readonly images: string | null
  /** How long an upscale takes, unless its source task id says otherwise. */
  readonly completeAfterMs?: number
  /** Signs callbacks, as the vendor does for accounts that have switched it on. */
  readonly webhookKey?: string
  readonly log: { warn(facts: object, sentence: string): void }
}

interface CreateRequest {
  readonly taskId: string
  readonly imageIndex: number
  readonly waterMark: string | null
  readonly callBackUrl: string | null
}

interface SandboxTask {
  readonly id: string
  readonly request: CreateRequest
  readonly scenario: Scenario
  readonly resultUrl: string
  readonly createdAt: number
  completedAt: number | null
}

/** Remembered tasks; the oldest are forgotten first. */
const MAX_TASKS = 10_000
const FIRST_CREDITS = 1_000

const MESSAGES: Record<number, string> = {
  200: 'success',
  400: 'Bad Request',
  401: 'Unauthorized',
  402: 'Insufficient Credits',
  404: 'Not Found',
  422: 'Validation Error',
  429: 'Rate Limited',
  455: 'Service Unavailable',
  500: 'Server Error',
  501: 'Generation Failed',
  505: 'Feature Disabled',
}

/**
 * The vendor's API, played: create, record-info, credit, callbacks, result pictures. It does real work on
 * real pictures and takes nothing for it. Register it under any prefix.
 */
export async function addSandbox(app: FastifyInstance, options: SandboxOptions): Promise<void> {
  const pictures = await createPictures(options.images)
  const tasks = new Map<string, SandboxTask>()
  const timers = new Set<NodeJS.Timeout>()
  let accepted = 0

  const accept = (request: CreateRequest, base: string): SandboxTask => {
    const scenario = toScenario(request.taskId, options.completeAfterMs ?? 2_000)
    const { taskId: source, imageIndex, waterMark } = request
    const query = new URLSearchParams({ source, ...(waterMark !== null && { waterMark }) })
    const resultUrl = `${base}/upscaled/${imageIndex}.png?${query.toString()}`
    const id = randomUUID().replaceAll('-', '')
    const task: SandboxTask = { id, request, scenario, resultUrl, createdAt: Date.now(), completedAt: null }
    tasks.set(id, task)
    const [oldest] = tasks.keys()
    if (tasks.size > MAX_TASKS && oldest !== undefined) tasks.delete(oldest)
    accepted += 1
    return task
  }

  const complete = async (task: SandboxTask): Promise<void> => {
    task.completedAt = Date.now()
    for (let copy = 0; copy < task.scenario.callbacks; copy += 1) await callBack(task, options)
  }

  let closed = false
  const completeLater = (task: SandboxTask): void => {
    if (closed) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      void complete(task)
    }, task.scenario.completeAfterMs)
    timers.add(timer)
  }
  app.addHook('preClose', (done) => {
    closed = true
    for (const timer of timers) clearTimeout(timer)
    done()
  })

  app.addHook('onRequest', async (request, reply) => {
    const api = request.url.includes('/api/v1/')
    if (api && !/^Bearer .+/.test(request.headers.authorization ?? '')) return reply.send(envelope(401))
    return undefined
  })

  app.post('/api/v1/mj/generateUpscale', async (incoming, reply) => {
    const request = parseCreateRequest(incoming.body)
    if (request === undefined) return envelope(422)
    const { create, early } = toScenario(request.taskId, 0)
    if (create.kind === 'refuse') return answerWith(reply, create.httpStatus, create.code)
    if (create.kind === 'html')
      return reply.code(502).type('text/html').send('<html><body><h1>502 Bad Gateway</h1></body></html>')
    const task = accept(request, `${incoming.protocol}://${incoming.host}${app.prefix}`)
    if (create.kind === 'hang') {
      // Work begins when the client has given up, so that the lost answer can be seen before the result.
      incoming.raw.socket.once('close', () => completeLater(task))
      return reply.hijack()
    }
    if (early) await complete(task)
    else completeLater(task)
    if (create.kind === 'reset') {
      incoming.raw.socket.destroy()
      return reply.hijack()
    }
    return envelope(200, { taskId: task.id })
  })

  app.get<{ Querystring: { taskId?: string } }>('/api/v1/mj/record-info', ({ query }) => {
    const task = tasks.get(query.taskId ?? '')
    return task ? envelope(200, toRecord(task)) : { code: 422, msg: 'recordInfo is null', data: null }
  })

  app.get('/api/v1/chat/credit', () => envelope(200, FIRST_CREDITS - accepted))

  interface PictureRoute {
    Params: { index: string }
    Querystring: { source?: string; waterMark?: string }
  }
  app.get<PictureRoute>('/pictures/:index(^[0-3]).png', async ({ params, query }, reply) =>
    reply.type('image/png').send(await pictures.source(query.source ?? '', Number(params.index))),
  )
  app.get<PictureRoute>('/upscaled/:index(^[0-3]).png', async ({ params, query }, reply) => {
    const picture = pictures.upscaled(query.source ?? '', Number(params.index), query.waterMark ?? null)
    return reply.type('image/png').send(await picture)
  })
}

function envelope(code: number, data: unknown = null) {
  return { code, msg: MESSAGES[code] ?? 'Unknown', data }
}

function answerWith(reply: FastifyReply, httpStatus: number, code: number): FastifyReply {
  const sendable = httpStatus >= 200 && httpStatus <= 599 ? httpStatus : 400
  return reply.code(sendable).send(envelope(code))
}

function parseCreateRequest(body: unknown): CreateRequest | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  const { taskId, imageIndex, waterMark, callBackUrl } = body as Record<string, unknown>
  if (typeof taskId !== 'string' || taskId === '' || typeof imageIndex !== 'number') return undefined
  if (!Number.isInteger(imageIndex) || imageIndex < 0 || imageIndex > 3) return undefined
  return {
    taskId,
    imageIndex,
    waterMark: typeof waterMark === 'string' && waterMark !== '' ? waterMark : null,
    callBackUrl: typeof callBackUrl === 'string' ? callBackUrl : null,
  }
}

function toRecord({ id, request, scenario, resultUrl, createdAt, completedAt }: SandboxTask) {
  const done = completedAt !== null
  const failed = done && scenario.completionCode !== 200
  return {
    taskId: id,
    taskType: 'mj_upscale',
    paramJson: JSON.stringify(request),
    createTime: new Date(createdAt).toISOString(),
    completeTime: done ? new Date(completedAt).toISOString() : null,
    resultInfoJson: done && !failed ? { resultUrls: [{ resultUrl }] } : null,
    successFlag: !done ? 0 : !failed ? 1 : scenario.completionCode === 501 ? 3 : 2,
    errorCode: failed ? scenario.completionCode : null,
    errorMessage: failed ? (MESSAGES[scenario.completionCode] ?? 'Unknown') : null,
  }
}

/** Posts completion once; the vendor's retries at 1, 5 and 15 minutes are not played. */
async function callBack(task: SandboxTask, { webhookKey, log }: SandboxOptions): Promise<void> {
  const { id, request, scenario, resultUrl } = task
  if (request.callBackUrl === null) return
  const code = scenario.completionCode
  const resultUrls = code === 200 ? [resultUrl] : []
  const data = { taskId: id, promptJson: JSON.stringify({ taskId: request.taskId }), resultUrls }
  try {
    await got.post(request.callBackUrl, {
      json: { code, msg: MESSAGES[code] ?? 'Unknown', data },
      headers: webhookKey === undefined ? {} : sign(webhookKey, id),
      retry: { limit: 0 },
      timeout: { request: 15_000 },
    })
  } catch (error) {
    // Not the message: it holds the URL, and that the token.
    const { code } = error as { code?: string }
    log.warn({ upstreamTaskId: id, code }, 'sandbox: a callback was not taken')
  }
}

function sign(key: string, taskId: string): Record<string, string> {
  const timestamp = String(Math.floor(Date.now() / 1_000))
  const signature = createHmac('sha256', key).update(`${taskId}.${timestamp}`).digest('base64')
  return { 'x-webhook-timestamp': timestamp, 'x-webhook-signature': signature }
}
