import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { createCompletions, type CompletionOptions, type Completions } from './completions.ts'
import {
  openKeptTasks,
  type CreateRequest,
  type KeptTasks,
  type SandboxDatabase,
  type SandboxTask,
} from './kept-tasks.ts'
import { toMessage } from './messages.ts'
import { createPictures, type Pictures } from './pictures.ts'
import { toScenario, type CreateAnswer } from './scenario.ts'

export interface SandboxOptions extends CompletionOptions {
  /** Folder of pictures; null: they are drawn. */
  readonly images: string | null
  readonly database: SandboxDatabase
  /** The only bearer that is accepted. Absent: any. */
  readonly apiKey?: string
  /** Public base of picture URLs. Absent or null: the Host of the gateway's request. */
  readonly publicBase?: () => string | null
}

export interface Sandbox {
  /** Resumes the tasks that were pending when the last process ended. Call it once the server listens. */
  resume(): Promise<void>
}

const FIRST_CREDITS = 1_000

/**
 * The vendor's API, played: create, record-info, credit, callbacks, result pictures. It does real work on
 * real pictures and takes nothing for it. Register it under any prefix.
 */
export async function addSandbox(app: FastifyInstance, options: SandboxOptions): Promise<Sandbox> {
  const pictures = await createPictures(options.images)
  const tasks = await openKeptTasks(options.database, options.log)
  const completions = createCompletions(tasks, options)
  app.addHook('preClose', (done) => {
    completions.stop()
    done()
  })
  app.addHook('onClose', () => tasks[Symbol.asyncDispose]())
  const toBase = (incoming: FastifyRequest) =>
    (options.publicBase?.() ?? `${incoming.protocol}://${incoming.host}`) + app.prefix
  await app.register(async (api) => {
    // In a scope of its own: a check of the URL's text would miss other spellings of the same path.
    api.addHook('onRequest', async ({ headers: { authorization = '' } }, reply) => {
      const { apiKey } = options
      const known =
        apiKey === undefined ? /^Bearer .+/.test(authorization) : authorization === `Bearer ${apiKey}`
      return known ? undefined : reply.send(envelope(401))
    })
    addCreate(api, tasks, completions, toBase)
    addReads(api, tasks)
    return Promise.resolve()
  })
  addPictures(app, pictures)
  return { resume: () => completions.resume() }
}

function addCreate(
  api: FastifyInstance,
  tasks: KeptTasks,
  completions: Completions,
  toBase: (incoming: FastifyRequest) => string,
): void {
  const accept = async (request: CreateRequest, base: string): Promise<SandboxTask> => {
    const { taskId: source, imageIndex, waterMark } = request
    const query = new URLSearchParams({ source, ...(waterMark !== null && { waterMark }) })
    const resultUrl = `${base}/upscaled/${imageIndex}.png?${query.toString()}`
    const id = randomUUID().replaceAll('-', '')
    const createdAt = Date.now()
    const dueAt = createdAt + completions.toScenario(source).completeAfterMs
    const task = { id, request, resultUrl, createdAt, dueAt }
    await tasks.add(task)
    return { ...task, completedAt: null }
  }

  api.post('/api/v1/mj/generateUpscale', async (incoming, reply) => {
    const request = parseCreateRequest(incoming.body)
    if (request === undefined) return envelope(422)
    const { create, early, completeAfterMs } = completions.toScenario(request.taskId)
    if (create.kind === 'refuse')
      return reply.code(toSendable(create.httpStatus, 400)).send(envelope(create.code))
    if (create.kind === 'proxy' && !create.accepted) return answerAsProxy(reply, create)
    const task = await accept(request, toBase(incoming))
    if (create.kind === 'hang') {
      // Work begins when the client has given up, so that the lost answer can be seen before the result.
      incoming.raw.socket.once('close', () => completions.completeLater(task, completeAfterMs))
      return reply.hijack()
    }
    if (early) await completions.complete(task)
    else completions.completeLater(task, completeAfterMs)
    switch (create.kind) {
      case 'reset':
        incoming.raw.socket.destroy()
        return reply.hijack()
      case 'proxy':
        return answerAsProxy(reply, create)
      case 'no-id':
        return envelope(200, {})
      case 'accept':
        return envelope(200, { taskId: task.id })
      default:
        return create satisfies never
    }
  })
}

function addReads(api: FastifyInstance, tasks: KeptTasks): void {
  api.get<{ Querystring: { taskId?: string } }>('/api/v1/mj/record-info', async ({ query }) => {
    const task = await tasks.find(query.taskId ?? '')
    return task ? envelope(200, toRecord(task)) : { code: 422, msg: 'recordInfo is null', data: null }
  })
  api.get('/api/v1/chat/credit', async () => envelope(200, FIRST_CREDITS - (await tasks.count())))
}

function addPictures(app: FastifyInstance, pictures: Pictures): void {
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
  return { code, msg: toMessage(code), data }
}

/** Replaces statuses that Node cannot send as a final answer. */
function toSendable(httpStatus: number, otherwise: number): number {
  return httpStatus >= 200 && httpStatus <= 599 ? httpStatus : otherwise
}

/** The answer of a proxy or CDN in place of the upstream's. */
function answerAsProxy(
  reply: FastifyReply,
  { httpStatus, body }: Extract<CreateAnswer, { kind: 'proxy' }>,
): FastifyReply {
  const status = toSendable(httpStatus, 502)
  if (status === 429 || status === 503) reply.header('retry-after', '20')
  const page = `<html><head><title>${status}</title></head><body><h1>Error ${status}</h1></body></html>`
  return reply
    .code(status)
    .type('text/html')
    .send(body === 'html' ? page : '')
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

function toRecord({ id, request, resultUrl, createdAt, dueAt, completedAt }: SandboxTask) {
  // The task may be due although no process was running to complete it.
  const at = completedAt ?? (dueAt <= Date.now() ? dueAt : null)
  const code = toScenario(request.taskId, 0).completionCode
  const failed = at !== null && code !== 200
  return {
    taskId: id,
    taskType: 'mj_upscale',
    paramJson: JSON.stringify(request),
    createTime: new Date(createdAt).toISOString(),
    completeTime: at === null ? null : new Date(at).toISOString(),
    resultInfoJson: at !== null && !failed ? { resultUrls: [{ resultUrl }] } : null,
    successFlag: at === null ? 0 : !failed ? 1 : code === 501 ? 3 : 2,
    errorCode: failed ? code : null,
    errorMessage: failed ? toMessage(code) : null,
  }
}
