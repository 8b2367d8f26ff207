import { randomUUID } from 'node:crypto'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import cors from '@fastify/cors'
import Fastify, { type FastifyInstance } from 'fastify'
import helmet from 'helmet'
import type { Log } from '../tasks/ports.ts'
import { isHostAllowed, isOriginAllowed, type AccessPolicy } from './access.ts'
import { handleErrors, sendError, toErrorBody } from './http-errors.ts'

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
    http: {
      headersTimeout: 8_000,
      connectionsCheckingInterval: 1_000,
      // The hook below answers for Node, in our own shape.
      requireHostHeader: false,
      // Any other wish to upgrade is ignored (RFC 9110 §7.8) and the request served as it is: some clients ask
      // for h2c with whatever they send.
      shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === 'websocket',
    },
    return503OnClosing: false,
    // Longer than any token of ours: what is too long is a wrong token, not a wrong URL.
    routerOptions: { maxParamLength: 1_000 },
    clientErrorHandler: (error, socket) => {
      if (socket.writable) socket.end(toRawError(error, log))
    },
    forceCloseConnections: 'idle',
    frameworkErrors: (error, request, reply) =>
      void sendError(request, reply, error.statusCode ?? 400, 'The URL of the request is not valid.', log),
  })
  handleErrors(app, log)
  const securityHeaders = readSecurityHeaders()
  let welcome: string | undefined
  app.addHook('onRequest', (request, reply, next) => {
    reply.headers(securityHeaders)
    const { host } = request.headers
    // The browser refuses the answer to its page; only the log can say why.
    if (request.headers.origin !== undefined) isOriginAllowed(access, request.raw)
    // Most requests name the host that the one before has named.
    if (host !== undefined && host === welcome) {
      next()
      return
    }
    // Later code builds URLs from it; HTTP/1.0 may leave it out, and anyone may send nonsense.
    if (!URL.canParse(`http://${host ?? ''}`))
      return void sendError(request, reply, 400, 'The Host header is missing or not valid.', log)
    if (!isHostAllowed(access, host))
      return void sendError(request, reply, 403, 'This host is not served here.', log)
    welcome = host
    next()
  })
  app.addHook('onSend', (_request, reply, payload, done) => {
    if (isDraining()) reply.header('connection', 'close')
    done(null, payload)
  })
  if (access.corsOrigins.length > 0)
    await app.register(cors, { origin: [...access.corsOrigins], methods: ['GET', 'POST'], maxAge: 600 })
  return app
}

/**
 * What helmet sets, asked of it once: it is the same for every answer. Set through the reply, all of it goes into the head
 * in one piece; as middleware, helmet took longer than the rest of an answer.
 */
function readSecurityHeaders(): Record<string, string> {
  const probe = new ServerResponse(new IncomingMessage(new Socket()))
  helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] },
    },
    // Pages of other origins may show the sandbox's pictures.
    crossOriginResourcePolicy: { policy: 'cross-origin' },
  })(probe.req, probe, () => undefined)
  return Object.fromEntries(Object.entries(probe.getHeaders()).map(([name, value]) => [name, String(value)]))
}

/** An answer to bytes that are not HTTP, or not in time, or too many of them. */
function toRawError({ code }: { readonly code?: string }, log: Log): string {
  const [status, phrase] =
    code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'Request Header Fields Too Large']
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout']
        : [400, 'Bad Request']
  const body = JSON.stringify(toErrorBody('BAD_REQUEST', `${phrase}.`, randomUUID(), log))
  const head = [
    `HTTP/1.1 ${status} ${phrase}`,
    'Connection: close',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}
