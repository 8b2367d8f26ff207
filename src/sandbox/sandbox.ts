import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { Completions, type CompletionOptions } from './completions.ts'
import {
  openKeptTasks,
  type CreateRequest,
  type KeptTasks,
  type SandboxDatabase,
  type SandboxTask,
} from './kept-tasks.ts'
import { toMessage } from './messages.ts'
import { readPictures, type Pictures } from './pictures.ts'
import { AccountLimit, BusySources, type RateLimit } from './refusals.ts'
import { toScenario, type Scenario } from './scenario.ts'

export interface SandboxOptions extends CompletionOptions {
  /** A folder of pictures; null: they are drawn. */
  readonly images: string | null
  readonly database: SandboxDatabase
  /** The only bearer that is accepted. Absent: any. */
  readonly apiKey?: string
  /** The limit of submits, as an account has one. Absent or null: none. */
  readonly rateLimit?: RateLimit | null
  /** A monotonic clock in milliseconds, for the limit. */
  readonly elapsed?: () => number
  /** Public base of picture URLs. Absent or null: the Host of the gateway's request. */
  readonly publicBase?: () => string | null
}

export interface Sandbox {
  /** Resumes the tasks that were pending when the last process ended. Call it once the server listens. */
  resume(): Promise<void>
}

const FIRST_CREDITS = 1_000

/**
 * Simulates the upstream's API: create, record-info, credit, callbacks, result pictures. It enlarges real pictures and
 * charges nothing. Register it under any prefix.
 */
export async function addSandbox(app: FastifyInstance, options: SandboxOptions): Promise<Sandbox> {
  const pictures = await readPictures(options.images)
  const tasks = await openKeptTasks(options.database, options.log)
  const completions = new Completions(tasks, options)
  app.addHook('preClose', (done) => {
    completions.stop()
    done()
  })
  app.addHook('onClose', () => tasks[Symbol.asyncDispose]())
  // A separate scope, because a test of the URL would miss other spellings of the same path.
  await app.register((api, _options, done) => {
    api.addHook('onRequest', async ({ headers: { authorization = '' } }, reply) => {
      const { apiKey } = options
      const isKnown =
        apiKey === undefined ? /^Bearer .+/.test(authorization) : authorization === `Bearer ${apiKey}`
      return isKnown ? undefined : reply.send(toEnvelope(401))
    })
    const toBase = ({ protocol, host }: FastifyRequest) =>
      (options.publicBase?.() ?? `${protocol}://${host}`) + app.prefix
    addCreate(api, { tasks, completions, limit: toAccountLimit(options), toBase })
    addReads(api, tasks, toBase)
    done()
  })
  addPictures(app, pictures)
  return completions
}

function toAccountLimit({ rateLimit, elapsed }: SandboxOptions): AccountLimit | undefined {
  return rateLimit ? new AccountLimit(rateLimit, elapsed ?? (() => performance.now())) : undefined
}

interface CreateParts {
  readonly tasks: KeptTasks
  readonly completions: Completions
  readonly limit: AccountLimit | undefined
  readonly toBase: (incoming: FastifyRequest) => string
}

function addCreate(api: FastifyInstance, { tasks, completions, limit, toBase }: CreateParts): void {
  const busySources = new BusySources()
  api.post('/api/v1/mj/generateUpscale', async (incoming, reply) => {
    const waitMs = limit?.take() ?? 0
    if (waitMs > 0) return answerAsLimited(reply, waitMs)
    const request = CREATE_REQUEST.safeParse(incoming.body).data
    if (request === undefined) return toEnvelope(422)
    const scenario = completions.toScenario(request.taskId)
    const { create, busy, early, completeAfterMs } = scenario
    if (busySources.refuses(request.taskId, busy)) return toEnvelope(429)
    if (create.kind === 'refuse' || (create.kind === 'proxy' && !create.accepted))
      return answer(reply, scenario, '')
    const createdAt = Date.now()
    const task: SandboxTask = {
      id: randomUUID().replaceAll('-', ''),
      request,
      resultUrl: toResultUrl(request, toBase(incoming)),
      createdAt,
      dueAt: createdAt + completeAfterMs,
      completedAt: null,
    }
    await tasks.add(task)
    // Without an answer, work begins after the client's timeout, so that the gateway loses the answer before it gets
    // the result.
    if (create.kind === 'hang')
      incoming.raw.socket.once('close', () => completions.completeLater(task, completeAfterMs))
    else if (early) await completions.complete(task)
    else completions.completeLater(task, completeAfterMs)
    return answer(reply, scenario, task.id)
  })
}

function answer(reply: FastifyReply, { create }: Scenario, taskId: string): FastifyReply {
  switch (create.kind) {
    case 'refuse':
      return reply.code(toSendable(create.httpStatus, 400)).send(toEnvelope(create.code))
    case 'proxy':
      return answerAsProxy(reply, toSendable(create.httpStatus, 502), create.body)
    case 'hang':
      return reply.hijack()
    case 'reset':
      reply.raw.destroy()
      return reply.hijack()
    case 'no-id':
      return reply.send(toEnvelope(200, {}))
    case 'accept':
      return reply.send(toEnvelope(200, { taskId }))
    default:
      return create satisfies never
  }
}

function addReads(
  api: FastifyInstance,
  tasks: KeptTasks,
  toBase: (incoming: FastifyRequest) => string,
): void {
  api.get<{ Querystring: { taskId?: string } }>('/api/v1/mj/record-info', async (incoming) => {
    const { taskId: id = '' } = incoming.query
    const task = await tasks.find(id)
    if (task) return toEnvelope(200, toRecord(task, Date.now()))
    return (await tasks.hasSource(id))
      ? toEnvelope(200, toSourceRecord(id, toBase(incoming)))
      : { code: 422, msg: 'recordInfo is null', data: null }
  })
  api.get('/api/v1/chat/credit', async () => toEnvelope(200, FIRST_CREDITS - (await tasks.count())))
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

function toEnvelope(code: number, data: unknown = null) {
  return { code, msg: toMessage(code), data }
}

/** Replaces statuses that Node cannot send as a final answer. */
function toSendable(httpStatus: number, otherwise: number): number {
  return httpStatus >= 200 && httpStatus <= 599 ? httpStatus : otherwise
}

/** The answer of a proxy or CDN in place of the upstream's. */
function answerAsProxy(reply: FastifyReply, status: number, body: 'html' | 'empty'): FastifyReply {
  if (status === 429 || status === 503) reply.header('retry-after', '20')
  const page = `<html><head><title>${status}</title></head><body><h1>Error ${status}</h1></body></html>`
  return reply
    .code(status)
    .type('text/html')
    .send(body === 'html' ? page : '')
}

/** The answer beyond the account's limit. */
function answerAsLimited(reply: FastifyReply, waitMs: number): FastifyReply {
  const seconds = Math.ceil(waitMs / 1_000)
  return reply.code(429).header('retry-after', seconds).send(toEnvelope(429))
}

const CREATE_REQUEST = z.object({
  taskId: z.string().min(1),
  imageIndex: z.int().min(0).max(3),
  waterMark: z.string().min(1).nullable().catch(null),
  callBackUrl: z.string().nullable().catch(null),
})

function toResultUrl({ taskId: source, imageIndex, waterMark }: CreateRequest, base: string): string {
  const query = new URLSearchParams({ source, ...(waterMark !== null && { waterMark }) })
  return `${base}/upscaled/${imageIndex}.png?${query.toString()}`
}

function toRecord({ id, request, resultUrl, createdAt, dueAt, completedAt }: SandboxTask, now: number) {
  // A task that is due counts as completed, even if no process was running.
  const at = completedAt ?? (dueAt <= now ? dueAt : null)
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

/** The record of a generation: four pictures. */
function toSourceRecord(id: string, base: string) {
  const query = new URLSearchParams({ source: id })
  const resultUrls = [0, 1, 2, 3].map((index) => ({
    resultUrl: `${base}/pictures/${index}.png?${query.toString()}`,
  }))
  return {
    taskId: id,
    taskType: 'mj_txt2img',
    resultInfoJson: { resultUrls },
    successFlag: 1,
    errorCode: null,
    errorMessage: null,
  }
}
