import { timingSafeEqual } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { CallbackNews, Log, Secrets } from '../tasks/ports.ts'
import type { Tasks } from '../tasks/tasks.ts'
import { sendError } from './http-errors.ts'

/** A callback has a few hundred bytes, plus an echo of the prompt; nothing genuine comes near this. */
const BODY_LIMIT_BYTES = 256 * 1024

export interface CallbackRoute {
  readonly tasks: Tasks
  readonly secrets: Pick<Secrets, 'digest'>
  readonly log: Log
  /** Reads a body; undefined when it is not a callback. */
  parseCallback(body: unknown): CallbackNews | undefined
}

/** The path under which the upstream reports completion of a task. */
export function toCallbackPath(taskId: string, token: string): string {
  return `/callbacks/upscale/${taskId}/${token}`
}

/**
 * The internal callback handler. 200 once committed, or when there is nothing new; 400 not a callback, or
 * about another upstream task; 403 wrong token; 404 unknown task; 413 too large; 503 when it could not be
 * stored, so that the vendor tries again.
 */
export function addCallbackRoute(
  app: FastifyInstance,
  { tasks, secrets, log, parseCallback }: CallbackRoute,
): void {
  void app.register((callbacks, _options, done) => {
    // Whatever content type the sender claims: it is JSON or it is refused.
    callbacks.removeAllContentTypeParsers()
    callbacks.addContentTypeParser(
      '*',
      { parseAs: 'string' },
      callbacks.getDefaultJsonParser('ignore', 'ignore'),
    )
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
        const receipt = await tasks.receive(task, news, request.id)
        if (receipt === 'mismatch')
          return sendError(request, reply, 400, 'This callback is about another upstream task.', log)
        return { code: 200, msg: 'success' }
      },
    )
    done()
  })
}

function isEqual(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)]
  return a.length === b.length && timingSafeEqual(a, b)
}
