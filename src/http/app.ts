import { randomUUID } from 'node:crypto'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Log } from '../tasks/ports.ts'
import { isHostAllowed, type AccessPolicy } from './access.ts'
import { handleErrors, sendError } from './http-errors.ts'

/** GraphQL over HTTP takes no larger body. */
const BODY_LIMIT_BYTES = 64 * 1024

export interface HttpAppOptions {
  readonly access: AccessPolicy
  readonly log: Log
  isDraining(): boolean
}

/**
 * An HTTP server without routes. Its time-outs let go of clients that never finish a request: Node's own
 * would keep hundreds of them for over a minute. Requests are not logged as such, because the URL of a
 * callback holds a secret.
 *
 * While draining, each answer ends its connection, so that a client that keeps one alive goes elsewhere.
 */
export async function createHttpApp({ access, log, isDraining }: HttpAppOptions): Promise<FastifyInstance> {
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
    const { host } = request.headers
    // Later code builds URLs from it; HTTP/1.0 may leave it out, and anyone may send nonsense.
    if (!URL.canParse(`http://${host ?? ''}`))
      return sendError(request, reply, 400, 'The Host header is missing or not valid.', log)
    if (!isHostAllowed(access, host))
      return sendError(request, reply, 403, 'This host is not served here.', log)
    return undefined
  })
  app.addHook('onSend', (_request, reply, payload, done) => {
    if (isDraining()) reply.header('connection', 'close')
    done(null, payload)
  })
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] },
    },
    // Pages of other origins may show the sandbox's pictures.
    crossOriginResourcePolicy: { policy: 'cross-origin' },
  })
  if (access.corsOrigins.length > 0)
    await app.register(cors, { origin: [...access.corsOrigins], methods: ['GET', 'POST'], maxAge: 600 })
  return app
}
