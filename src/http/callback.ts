import { timingSafeEqual } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { Callback, Clock, Log, Secrets } from '../tasks/ports.ts'
import type { Tasks } from '../tasks/tasks.ts'
import { sendError } from './http-errors.ts'
import { verifySignature, type SignaturePolicy } from './signature.ts'

/** A callback has a few hundred bytes, plus an echo of the prompt; nothing genuine comes near this. */
const BODY_LIMIT_BYTES = 256 * 1024

export interface CallbackRoute {
  readonly tasks: Tasks
  readonly secrets: Pick<Secrets, 'digest'>
  readonly clock: Clock
  readonly log: Log
  /** Null: the account does not sign, and no signature is asked for. */
  readonly signatures: SignaturePolicy | null
  /** Told the status that each callback is answered with. */
  onAnswer(status: number): void
  /** Parses JSON; undefined if the text is not JSON. */
  parseJson(text: string): unknown
  /** Reads a body; undefined when it is not a callback. */
  parseCallback(body: unknown): Callback | undefined
}

/** The path under which the upstream reports completion of a task. */
export function toCallbackPath(taskId: string, token: string): string {
  return `/callbacks/upscale/${taskId}/${token}`
}

/**
 * The internal callback handler. 200 once committed, or when there is nothing new; 400 not a callback, or
 * about another upstream task; 401 bad signature; 403 wrong token; 404 unknown task; 413 too large; 503 when
 * it could not be stored, so that the vendor tries again.
 */
export function addCallbackRoute(
  app: FastifyInstance,
  { tasks, secrets, clock, log, signatures, onAnswer, parseJson, parseCallback }: CallbackRoute,
): void {
  void app.register((callbacks, _options, done) => {
    // The body is read as JSON in UTF-8, whatever type, charset or encoding the sender names.
    callbacks.addHook('onRequest', (request, _reply, next) => {
      request.headers['content-type'] = 'application/json'
      delete request.headers['content-encoding']
      next()
    })
    // Our own parser: Fastify's refuses keys such as `__proto__`, and rounds long numeric ids.
    callbacks.removeAllContentTypeParsers()
    callbacks.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, parsed) => {
      parsed(null, parseJson(String(body)))
    })
    callbacks.addHook('onResponse', (_request, reply, next) => {
      onAnswer(reply.statusCode)
      next()
    })
    callbacks.setErrorHandler((error: { statusCode?: number; message: string }, request, reply) => {
      const { statusCode = 503 } = error
      if (statusCode < 500) return sendError(request, reply, statusCode, error.message, log)
      log.error({ err: error, correlationId: request.id }, 'a callback could not be taken in')
      return sendError(request, reply, 503, 'Not stored; please try again.', log)
    })
    callbacks.post<{ Params: { taskId: string; token: string } }>(
      toCallbackPath(':taskId', ':token'),
      { bodyLimit: BODY_LIMIT_BYTES },
      async (request, reply) => {
        const { taskId, token } = request.params
        const task = await tasks.find(taskId)
        if (task === undefined) return sendError(request, reply, 404, 'There is no such task.', log)
        if (!isEqual(secrets.digest(token), task.callbackTokenHash))
          return sendError(request, reply, 403, 'The token is not the one of this task.', log)
        const news = parseCallback(request.body)
        if (news === undefined) return sendError(request, reply, 400, 'This is not a callback.', log)
        const verdict = signatures
          ? verifySignature(signatures, request.headers, news.upstreamTaskId, clock.now())
          : 'genuine'
        if (verdict === 'forged')
          return sendError(request, reply, 401, 'The signature is missing or not right.', log)
        // A replayed callback may only cause a poll.
        const believed = verdict === 'stale' ? toInconclusive(news) : news
        const receipt = await tasks.receive(task, believed, request.id)
        if (receipt === 'mismatch')
          return sendError(request, reply, 400, 'This callback is about another upstream task.', log)
        if (receipt === 'unconfirmed')
          return sendError(
            request,
            reply,
            503,
            'Record-info does not confirm this success yet: send the callback again.',
            log,
          )
        return { code: 200, msg: 'success' }
      },
    )
    done()
  })
}

function toInconclusive({ upstreamTaskId }: Callback): Callback {
  return { upstreamTaskId, outcome: { kind: 'inconclusive' } }
}

function isEqual(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)]
  return a.length === b.length && timingSafeEqual(a, b)
}
