import { timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Callback, Engines } from '../tasks/engines/engine-ports.ts'
import type { Clock, Log, Secrets } from '../tasks/ports.ts'
import { StoreUnavailableError } from '../tasks/store-port.ts'
import type { CallbackResult } from '../tasks/callback.ts'
import type { Tasks } from '../tasks/tasks.ts'
import { parseTraceparent, toTaskAttributes, type Tracing } from '../tasks/tracing.ts'
import { logOutage, sendError } from './http-errors.ts'
import { verifySignature, type SignaturePolicy } from './signature.ts'

/** Callbacks have a few hundred bytes, plus an echo of the prompt. */
const BODY_LIMIT_BYTES = 256 * 1024

interface CallbackRoute {
  readonly tasks: Tasks
  readonly secrets: Pick<Secrets, 'digest'>
  readonly clock: Clock
  readonly log: Log
  /** For engines that sign their callbacks. Null: callbacks need no signature. */
  readonly signatures: SignaturePolicy | null
  /** Called with the status of each response, and how long the request took, in milliseconds. */
  onAnswer(status: number, ms: number): void
  /** Undefined if the text is not JSON. */
  parseJson(text: string): unknown
  readonly engines: Pick<Engines, 'find'>
  readonly tracing: Tracing
}

/** The path to which the upstream sends the callbacks of a task. */
export function toCallbackPath(taskId: string, token: string): string {
  return `/callbacks/upscale/${taskId}/${token}`
}

type Refusal = readonly [status: number, message: string]
type CallbackRequest = FastifyRequest<{ Params: { taskId: string; token: string } }>

/**
 * The route of the upstream's callbacks. 200: committed, or nothing new; 400: not a callback, or about
 * another upstream task; 401: invalid signature; 403: wrong token; 404: unknown task; 413: too large; 503:
 * not stored or not confirmed, so that the upstream retries.
 */
export function addCallbackRoute(app: FastifyInstance, route: CallbackRoute): void {
  const { log, onAnswer, parseJson } = route
  void app.register((callbacks, _options, done) => {
    // Bodies are read as JSON in UTF-8, regardless of the headers.
    callbacks.addHook('onRequest', (request, _reply, next) => {
      request.headers['content-type'] = 'application/json'
      delete request.headers['content-encoding']
      next()
    })
    // Fastify's parser refuses keys such as `__proto__`, and rounds long numeric ids.
    callbacks.removeAllContentTypeParsers()
    callbacks.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, parsed) => {
      parsed(null, parseJson(String(body)))
    })
    callbacks.addHook('onResponse', (_request, reply, next) => {
      onAnswer(reply.statusCode, reply.elapsedTime)
      next()
    })
    callbacks.setErrorHandler((error: { statusCode?: number; message: string }, request, reply) => {
      const { statusCode = 503 } = error
      if (statusCode < 500) return sendError(reply, statusCode, error.message)
      if (error instanceof StoreUnavailableError) logOutage(error, request.id, log)
      else log.error({ err: error, correlationId: request.id }, 'failed to store a callback')
      return sendError(reply, 503, 'The callback was not stored: retry.')
    })
    callbacks.post(
      toCallbackPath(':taskId', ':token'),
      { bodyLimit: BODY_LIMIT_BYTES },
      async (request: CallbackRequest, reply: FastifyReply) => {
        const refusal = await receive(route, request)
        return refusal ? sendError(reply, ...refusal) : { code: 200, msg: 'success' }
      },
    )
    done()
  })
}

/** Authenticates a callback and passes it to the core. Undefined: it is accepted. */
async function receive(route: CallbackRoute, request: CallbackRequest): Promise<Refusal | undefined> {
  const { tasks, secrets, clock, signatures, engines, log } = route
  const { taskId, token } = request.params
  const task = await tasks.find(taskId)
  if (task === undefined) return [404, 'There is no such task.']
  if (!isEqual(secrets.digest(token), task.callbackTokenHash))
    return [403, 'The token is not valid for this task.']
  const engine = engines.find(task.engine)
  if (engine === undefined) {
    const { correlationId } = task
    log.warn(
      { taskId, correlationId, engine: task.engine },
      'a callback cannot be read: ENGINES does not name its engine',
    )
    return [503, 'The engine of this task is not configured: retry.']
  }
  const callback = engine.parseCallback(request.body)
  if (callback === undefined) return [400, 'The body is not a callback.']
  const { upstreamTaskId } = callback
  const policy = engine.signsCallbacks ? signatures : null
  const verdict = policy && verifySignature(policy, request.headers, upstreamTaskId, clock.now())
  if (verdict === 'forged') return [401, 'The signature is missing or invalid.']
  // An old signature may have been replayed by anyone: such a callback only causes a poll.
  const inconclusive: Callback = { upstreamTaskId, outcome: { kind: 'inconclusive' } }
  const start = {
    name: 'callback',
    kind: 'consumer',
    traceparent: task.traceparent,
    links: [parseTraceparent(request.headers.traceparent)],
    attributes: {
      'http.request.method': 'POST',
      'http.route': toCallbackPath(':taskId', ':token'),
      'messaging.system': 'webhook',
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      ...toTaskAttributes(task),
    },
  } as const
  return route.tracing.run(start, async (span) => {
    const refusal = toRefusal(await tasks.receive(task, verdict === 'stale' ? inconclusive : callback))
    const [status] = refusal ?? [200]
    span.set({ 'http.response.status_code': status })
    if (status >= 400) span.fail(String(status))
    return refusal
  })
}

function toRefusal(result: CallbackResult): Refusal | undefined {
  switch (result) {
    case 'mismatch':
      return [400, 'The callback is about another upstream task.']
    case 'unconfirmed':
      return [503, 'Record-info does not confirm this success yet: retry the callback.']
    case 'accepted':
      return undefined
    default:
      return result satisfies never
  }
}

function isEqual(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)]
  return a.length === b.length && timingSafeEqual(a, b)
}
