import { randomUUID } from 'node:crypto'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Log } from '../tasks/ports.ts'
import { handleErrors, sendError } from './http-errors.ts'

/** GraphQL over HTTP takes no larger body. */
const BODY_LIMIT_BYTES = 64 * 1024

/**
 * An HTTP server without routes. Its time-outs let go of clients that never finish a request: Node's own
 * would keep hundreds of them for over a minute. Requests are not logged as such, because the URL of a
 * callback holds a secret.
 *
 * While draining, each answer ends its connection, so that a client that keeps one alive goes elsewhere.
 */
export function createHttpApp(log: Log, isDraining: () => boolean): FastifyInstance {
  const app = Fastify({
    logger: false,
    genReqId: () => randomUUID(),
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: 15_000,
    http: { headersTimeout: 8_000, connectionsCheckingInterval: 1_000 },
    forceCloseConnections: 'idle',
    frameworkErrors: (error, request, reply) =>
      void sendError(request, reply, error.statusCode ?? 400, error.message, log),
  })
  handleErrors(app, log)
  app.addHook('onRequest', async (request, reply) => {
    // Later code builds URLs from it; HTTP/1.0 may leave it out, and anyone may send nonsense.
    if (!URL.canParse(`http://${request.headers.host ?? ''}`))
      return sendError(request, reply, 400, 'The Host header is missing or not valid.', log)
    return undefined
  })
  app.addHook('onSend', (_request, reply, payload, done) => {
    if (isDraining()) reply.header('connection', 'close')
    done(null, payload)
  })
  return app
}
