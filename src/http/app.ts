import { randomUUID } from 'node:crypto'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { Readable } from 'node:stream'
import cors from '@fastify/cors'
import Fastify, { type FastifyInstance, type FastifyRequest, type onRequestHookHandler } from 'fastify'
import helmet from 'helmet'
import type { Log } from '../tasks/ports.ts'
import { isHostAllowed, isHostValid, isOriginAllowed, type AccessPolicy } from './access.ts'
import { findEncodingFault } from './body-encoding.ts'
import { Connections } from './connections.ts'
import { handleErrors, sendError, toErrorBody } from './http-errors.ts'

/** GraphQL over HTTP takes no larger body. */
const BODY_LIMIT_BYTES = 64 * 1024
/** Larger answers are sent in pieces of this size. */
const PIECE_BYTES = 64 * 1024

/** Durations in milliseconds after which the server gives up on a connection. */
export interface HttpLimits {
  /** From the first byte of a request to the end of its headers, or of its body. */
  readonly headersMs: number
  readonly requestMs: number
  /** Without the client reading any unsent bytes. */
  readonly stallMs: number
  /** How often the limits above are checked. */
  readonly checkMs: number
}

/** Node's default limits would keep hundreds of slow clients for over a minute. */
const LIMITS: HttpLimits = { headersMs: 8_000, requestMs: 15_000, stallMs: 30_000, checkMs: 1_000 }

export interface HttpAppOptions {
  readonly access: AccessPolicy
  readonly log: Log
  /** How long a connection may be idle between two requests. */
  readonly keepAliveMs: number
  readonly limits?: Partial<HttpLimits>
  isDraining(): boolean
}

/**
 * An HTTP server without routes. Requests are not logged, because the URL of a callback holds a secret. While
 * draining, each answer ends its connection, so that clients that keep connections alive go to another replica.
 */
export async function createHttpApp(options: HttpAppOptions): Promise<FastifyInstance> {
  const { access, log, isDraining } = options
  const limits = { ...LIMITS, ...options.limits }
  const app = Fastify({
    logger: false,
    genReqId: () => randomUUID(),
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: options.keepAliveMs,
    http: {
      headersTimeout: limits.headersMs,
      connectionsCheckingInterval: limits.checkMs,
      // `checkHost` answers instead, with a body in our format.
      requireHostHeader: false,
      // Any other wish to upgrade is ignored (RFC 9110 §7.8) and the request served as it is: some clients ask
      // for h2c with whatever they send.
      shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === 'websocket',
    },
    return503OnClosing: false,
    // Longer than any token of ours: what is too long is a wrong token, not a wrong URL.
    routerOptions: { maxParamLength: 1_000 },
    clientErrorHandler: (error, socket) => connections.of(socket).refuse(toRawError(error, log)),
    forceCloseConnections: 'idle',
    frameworkErrors: (error, request, reply) =>
      void sendError(request, reply, error.statusCode ?? 400, 'The URL of the request is not valid.', log),
  })
  const connections = new Connections(app.server, limits)
  app.addHook('onClose', () => connections[Symbol.dispose]())
  handleErrors(app, log)
  serveInTurn(app, connections, log)
  checkHeaders(app, access, log)
  prepareAnswers(app, connections, isDraining)
  if (access.corsOrigins.length > 0)
    await app.register(cors, { origin: [...access.corsOrigins], methods: ['GET', 'POST'], maxAge: 600 })
  return app
}

/** Starts each request when the one before it on the same connection has been answered, and none after a refusal. */
function serveInTurn(app: FastifyInstance, connections: Connections, log: Log): void {
  app.addHook('onRequest', ({ raw }, reply, next) => {
    const refusal = () => toRawError({ code: 'PIPELINE_OVERFLOW' }, log)
    connections.of(raw.socket).enter(raw, reply.raw, next, refusal)
  })
  // Without `next` the request goes no further: its connection is gone or has been answered already.
  app.addHook('preHandler', ({ raw }, _reply, next) => {
    if (connections.of(raw.socket).run()) next()
  })
}

function checkHeaders(app: FastifyInstance, access: AccessPolicy, log: Log): void {
  const securityHeaders = readSecurityHeaders()
  app.addHook('onRequest', ({ headers, raw }, reply, next) => {
    reply.headers(securityHeaders)
    // The browser refuses the answer to its page; only the log can say why.
    if (headers.origin !== undefined) isOriginAllowed(access, raw)
    next()
  })
  app.addHook('onRequest', checkHost(access, log))
  app.addHook('preParsing', (request, reply, _payload, next) => {
    const fault = findEncodingFault(request)
    if (fault === undefined) next()
    else void sendError(request, reply, 415, fault, log)
  })
}

function prepareAnswers(app: FastifyInstance, connections: Connections, isDraining: () => boolean): void {
  app.addHook('onSend', ({ raw: { socket } }, reply, payload, done) => {
    const { isClosing } = connections.of(socket)
    if (isClosing || isDraining()) reply.header('connection', 'close')
    // A stream might never end, and its connection is to close.
    if (isClosing && payload instanceof Readable) socket.destroy()
    if (Buffer.isBuffer(payload) && payload.length > PIECE_BYTES) {
      reply.header('content-length', payload.length)
      done(null, Readable.from(toPieces(payload), { objectMode: false }))
    } else done(null, payload)
  })
}

/** Refuses a missing, malformed or foreign Host: later code builds URLs from it. */
function checkHost(access: AccessPolicy, log: Log): onRequestHookHandler {
  let accepted: string | undefined
  return (request, reply, next) => {
    const { host } = request.headers
    if (hasSeveralHosts(request.raw.rawHeaders))
      return void sendError(request, reply, 400, 'There is more than one Host header.', log)
    // Most requests name the same host as the one before.
    if ((host !== undefined && host === accepted) || isHostOptional(request)) {
      next()
      return
    }
    if (!isHostValid(host))
      return void sendError(request, reply, 400, 'The Host header is missing or not valid.', log)
    if (!isHostAllowed(access, host))
      return void sendError(request, reply, 403, 'This host is not served here.', log)
    accepted = host
    next()
  }
}

/** RFC 9112 §3.2 wants 400: which of them counts, proxies may see in another way. `rawHeaders` are names and values in turn. */
function hasSeveralHosts(rawHeaders: readonly string[]): boolean {
  let hosts = 0
  for (let index = 0; index < rawHeaders.length; index += 2)
    if (rawHeaders[index]?.length === 4 && rawHeaders[index]?.toLowerCase() === 'host') hosts += 1
  return hosts > 1
}

/** Load balancers check health over HTTP/1.0 without a Host, or with an empty one. */
function isHostOptional({ headers: { host }, raw, routeOptions }: FastifyRequest): boolean {
  const isAbsent = host === '' || (host === undefined && raw.httpVersion === '1.0')
  return isAbsent && routeOptions.config.hostOptional === true
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

/** Sends a large answer in pieces, so that a slow client makes progress with each piece and does not count as stalled. */
function* toPieces(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += PIECE_BYTES)
    yield bytes.subarray(start, start + PIECE_BYTES)
}

const RAW_ERRORS: Record<string, readonly [status: number, phrase: string]> = {
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
  PIPELINE_OVERFLOW: [429, 'Too Many Requests'],
}

/** A complete HTTP response to bytes that are not a request, arrive too slowly, or are too many. */
function toRawError({ code = '' }: { readonly code?: string }, log: Log): string {
  const [status, phrase] = RAW_ERRORS[code] ?? [400, 'Bad Request']
  const body = JSON.stringify(toErrorBody('BAD_REQUEST', `${phrase}.`, randomUUID(), log))
  const head = [
    `HTTP/1.1 ${status} ${phrase}`,
    'Connection: close',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}
