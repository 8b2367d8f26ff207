import { createHash, randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Completions } from './completions.ts'
import { toState, type Answer, type Dialect, type Submit, type TaskState } from './dialect.ts'
import type { CreateRequest, KeptTasks, SandboxTask } from './kept-tasks.ts'
import { BusySources, type AccountLimit } from './refusals.ts'
import type { Scenario } from './scenario.ts'

export interface SubmitParts {
  readonly tasks: KeptTasks
  readonly completions: Completions
  readonly limit: AccountLimit | undefined
  /** The base of picture URLs. */
  readonly toBase: (incoming: FastifyRequest) => string
}

/** Adds the routes that accept or refuse a dialect's submits. */
export function addSubmits(api: FastifyInstance, dialect: Dialect, parts: SubmitParts): void {
  const { completions, limit } = parts
  const busySources = new BusySources()
  for (const { path, parse } of dialect.submits)
    api.post(path, async (incoming, reply) => {
      const waitMs = limit?.take() ?? 0
      if (waitMs > 0)
        return send(reply.header('retry-after', Math.ceil(waitMs / 1_000)), dialect.refuse(429, 429))
      const submit = parse(incoming.body)
      if ('code' in submit) return send(reply, dialect.refuse(submit.code))
      const { taskId } = submit.request
      const scenario = completions.toScenario(taskId, dialect.name)
      const { create, busy } = scenario
      if (busySources.refuses(taskId, busy)) return send(reply, dialect.refuse(429))
      if (create.kind === 'refuse' || (create.kind === 'proxy' && !create.accepted))
        return answer(reply, scenario, dialect)
      return accept(incoming, reply, { ...parts, dialect, submit, scenario })
    })
}

interface AcceptParts extends SubmitParts {
  readonly dialect: Dialect
  readonly submit: Submit
  readonly scenario: Scenario
}

async function accept(incoming: FastifyRequest, reply: FastifyReply, parts: AcceptParts) {
  const { tasks, completions, toBase, dialect, submit, scenario } = parts
  const { create, early, completeAfterMs, completionCode, extra } = scenario
  const { request, details = {} } = submit
  const createdAt = Date.now()
  const existingId = extra === 'existing' && dialect.answerExisting ? toFixedId(dialect.name, request) : null
  const existing = existingId === null ? undefined : await tasks.find(existingId)
  if (existing && dialect.answerExisting) {
    const state = toState(existing, completionCode, dialect.steps, createdAt)
    return send(reply, dialect.answerExisting(existing, state))
  }
  const task: SandboxTask = {
    id: existingId ?? randomUUID().replaceAll('-', ''),
    dialect: dialect.name,
    request,
    details,
    resultUrl: toResultUrl(request, toBase(incoming)),
    createdAt,
    dueAt: createdAt + completeAfterMs,
    completedAt: null,
  }
  await tasks.add(task)
  // Without an answer, work begins after the client's timeout, so that the gateway loses the answer before it
  // gets the result.
  if (create.kind === 'hang')
    incoming.raw.socket.once('close', () => completions.completeLater(task, completeAfterMs))
  else if (early) await completions.complete(task)
  else completions.completeLater(task, completeAfterMs)
  const state: TaskState =
    extra === 'instant' && dialect.completesInstantly
      ? { kind: 'completed', at: createdAt, code: completionCode }
      : { kind: 'running', step: 0 }
  return answer(reply, scenario, dialect, dialect.accept(task, state, extra))
}

/** The same id for each submit of a picture, so that a later submit finds the task. */
function toFixedId(dialect: string, { taskId, imageIndex }: CreateRequest): string {
  return createHash('sha256')
    .update(JSON.stringify([dialect, taskId, imageIndex]))
    .digest('hex')
    .slice(0, 32)
}

function toResultUrl({ taskId: source, imageIndex, waterMark }: CreateRequest, base: string): string {
  const query = new URLSearchParams({ source, ...(waterMark !== null && { waterMark }) })
  return `${base}/upscaled/${imageIndex}.png?${query.toString()}`
}

function answer(
  reply: FastifyReply,
  { create }: Scenario,
  dialect: Dialect,
  accepted: Answer = dialect.acceptWithoutId,
): FastifyReply {
  switch (create.kind) {
    case 'refuse': {
      const { code, httpStatus } = create
      return send(reply, dialect.refuse(code, httpStatus === null ? undefined : toSendable(httpStatus, 400)))
    }
    case 'proxy':
      return answerAsProxy(reply, toSendable(create.httpStatus, 502), create.body)
    case 'hang':
      return reply.hijack()
    case 'reset':
      reply.raw.destroy()
      return reply.hijack()
    case 'no-id':
      return send(reply, dialect.acceptWithoutId)
    case 'accept':
      return send(reply, accepted)
    default:
      return create satisfies never
  }
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

function send(reply: FastifyReply, { status, body }: Answer): FastifyReply {
  return reply.code(status).send(body)
}
