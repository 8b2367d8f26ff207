import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import cors from '@fastify/cors'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Log } from '../tasks/ports.ts'
import { isCorsAllowed, type AccessPolicy } from './access.ts'
import { Connections } from './connections.ts'
import { handleErrors, sendError, toErrorBody } from './http-errors.ts'
import { checkRequests } from './request-checks.ts'

/** The limit of bodies of GraphQL over HTTP. */
const BODY_LIMIT_BYTES = 64 * 1024
/** The id of the request in the log. */
const CORRELATION_HEADER = 'x-correlation-id'
/** Larger response bodies are sent in pieces of this size. */
const PIECE_BYTES = 64 * 1024

/** Durations in milliseconds after which the server closes a connection. */
export interface HttpLimits {
  /** From the first byte of a request to the end of its headers, or of its body. */
  readonly headersMs: number
  readonly requestMs: number
  /** While bytes are unsent and the client reads none. */
  readonly stallMs: number
  /** How often the limits above are checked. */
  readonly checkMs: number
}

/** Node's defaults would keep hundreds of slow clients for over a minute. */
const LIMITS: HttpLimits = { headersMs: 8_000, requestMs: 15_000, stallMs: 30_000, checkMs: 1_000 }

interface HttpAppOptions {
  readonly access: AccessPolicy
  readonly log: Log
  /** How long a connection may be idle between two requests. */
  readonly keepAliveMs: number
  readonly limits?: Partial<HttpLimits>
  /** A sentence for the message of a 404: where GraphQL is. Absent: none. */
  readonly hint?: string
  isDraining(): boolean
}

/**
 * An HTTP server without routes. It does not log requests, because callback URLs contain a secret. While
 * draining, each response closes its connection, so that clients with keep-alive connect to another replica.
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
      // Checked in request-checks.ts, which responds in our format.
      requireHostHeader: false,
      // Other upgrades are ignored (RFC 9110 §7.8): some clients request h2c with everything they send.
      shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === 'websocket',
    },
    return503OnClosing: false,
    // Longer than all tokens, so that a long path is a wrong token instead of an invalid URL.
    routerOptions: { maxParamLength: 1_000 },
    clientErrorHandler: (error, socket) => connections.of(socket).refuse(toRawResponse(error.code)),
    forceCloseConnections: 'idle',
    // No hook runs for these requests.
    frameworkErrors: (error, { id }, reply) => {
      void reply.header(CORRELATION_HEADER, id)
      void sendError(reply, error.statusCode ?? 400, 'The URL of the request is not valid.')
    },
  })
  const connections = new Connections(app.server, limits)
  app.addHook('onClose', () => connections[Symbol.dispose]())
  handleErrors(app, log, options.hint)
  queueRequests(app, connections)
  checkRequests(app, access)
  prepareResponses(app, connections, isDraining)
  if (access.corsOrigins.length > 0 || access.loopbackOrigins === true)
    await app.register(cors, {
      origin: (origin, allow) => allow(null, origin !== undefined && isCorsAllowed(access, origin)),
      // The headers of a preflight request are allowed as they are: all of ours, and those of tracing
      // libraries.
      methods: ['GET', 'POST'],
      exposedHeaders: [CORRELATION_HEADER, 'retry-after'],
      maxAge: 600,
    })
  return app
}

/**
 * Starts each request after the response to the previous one on its connection. Starts none after a refusal.
 */
function queueRequests(app: FastifyInstance, connections: Connections): void {
  app.addHook('onRequest', ({ raw }, reply, next) => {
    connections.of(raw.socket).enqueue(raw, reply.raw, next, () => toRawResponse('PIPELINE_OVERFLOW'))
  })
  // Without `next` the request ends here: its connection is closed or refused.
  app.addHook('preHandler', ({ raw }, _reply, next) => {
    if (connections.of(raw.socket).begin()) next()
  })
}

function prepareResponses(app: FastifyInstance, connections: Connections, isDraining: () => boolean): void {
  app.addHook('onSend', ({ id, raw: { socket } }, reply, payload, done) => {
    reply.header(CORRELATION_HEADER, id)
    const { isClosing } = connections.of(socket)
    if (isClosing || isDraining()) reply.header('connection', 'close')
    // A stream may never end, and its connection must close.
    if (isClosing && payload instanceof Readable) socket.destroy()
    if (Buffer.isBuffer(payload) && payload.length > PIECE_BYTES) {
      reply.header('content-length', payload.length)
      done(null, Readable.from(toPieces(payload), { objectMode: false }))
    } else done(null, payload)
  })
}

/** With pieces, a slow client makes progress and does not count as stalled. */
function* toPieces(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += PIECE_BYTES)
    yield bytes.subarray(start, start + PIECE_BYTES)
}

const RAW_STATUSES: Record<string, string> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
  PIPELINE_OVERFLOW: '429 Too Many Requests',
}

/** A complete HTTP response for a connection whose requests are invalid, too slow or too many. */
function toRawResponse(errorCode = ''): string {
  const status = RAW_STATUSES[errorCode] ?? '400 Bad Request'
  const correlationId = randomUUID()
  const body = toErrorBody('BAD_REQUEST', `${status.slice(4)}.`, correlationId)
  const head = [
    `HTTP/1.1 ${status}`,
    'Connection: close',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `${CORRELATION_HEADER}: ${correlationId}`,
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}
