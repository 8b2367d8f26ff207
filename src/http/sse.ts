import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ExecutionResult, GraphQLError, GraphQLSchema } from 'graphql'
import { createHandler, type OperationContext as Context } from 'graphql-sse'
import type { CreateContext, StreamTransport } from '../graphql/context.ts'
import { toPublicError } from '../graphql/errors.ts'
import type { Prepare } from '../graphql/prepare.ts'
import type { Log } from '../tasks/ports.ts'
import type { Identity } from './authorize.ts'
import type { HttpAuthorization } from './http-authorization.ts'
import { sendError } from './http-errors.ts'
import type { HttpStreams } from './http-streams.ts'

const PATH = '/graphql/stream'
const EVENT_STREAM = 'text/event-stream'

export interface StreamRoute {
  readonly schema: GraphQLSchema
  readonly prepare: Prepare
  readonly createContext: CreateContext
  readonly authorization: HttpAuthorization
  readonly streams: HttpStreams
  readonly log: Log
}

/**
 * GraphQL over server-sent events (graphql-sse, distinct connections mode), for clients and routers that do not
 * speak WebSocket. The id of an event is the version of the task in it: a browser's EventSource, which sends the
 * last one as `Last-Event-ID` when it connects again, goes on where it was.
 */
export function addStreamRoute(app: FastifyInstance, route: StreamRoute): void {
  const { authorization, log } = route
  const handle = createEventStreamHandler(route)
  const answer = async (request: FastifyRequest, reply: FastifyReply) => {
    // Names of media types are case-insensitive; the library compares them as they are.
    if (!request.headers.accept?.toLowerCase().includes(EVENT_STREAM))
      return sendError(request, reply, 406, `Only ${EVENT_STREAM} is served here.`, log)
    // Parsed by Fastify, whom no page of another origin can have sent JSON without asking (CORS).
    if (request.method === 'POST' && typeof request.body !== 'object')
      return sendError(request, reply, 415, 'The body must be application/json.', log)
    const stream = new EventStream(authorization.identity(request), route.streams, request, reply)
    const [body, { status }] = await handle({
      method: request.method,
      url: request.url,
      headers: {
        get: (name) => (name === 'accept' ? EVENT_STREAM : toText(request.headers[name])?.toLowerCase()),
      },
      body: request.body as Record<string, unknown> | null,
      raw: request,
      context: stream,
    })
    if (stream.refused) return authorization.refuseGuest(request, reply)
    if (status !== 200 || body === null || typeof body === 'string')
      return sendError(request, reply, status, toMessage(body), log)
    stream.endWithConnection(body)
    return (
      reply
        .header('content-type', `${EVENT_STREAM}; charset=utf-8`)
        .header('cache-control', 'no-store, no-transform')
        // Proxies such as nginx would keep events back to fill a buffer.
        .header('x-accel-buffering', 'no')
        .send(Readable.from(stream.toFrames(body), { objectMode: false, highWaterMark: 1 }))
    )
  }
  app.get(PATH, { onRequest: authorization.allowGuests }, answer)
  app.post(PATH, { onRequest: authorization.allowGuests }, answer)
}

function createEventStreamHandler({ schema, prepare, createContext, log }: StreamRoute) {
  const format = (errors: readonly GraphQLError[], { id }: EventStream) =>
    errors.map((error) => toPublicError(error, id, log)) as unknown as GraphQLError[]
  // The library takes an object for a result by its `data`; undefined is left out of what is sent.
  const refuse = (errors: readonly GraphQLError[], stream: EventStream) =>
    ({ data: undefined, errors: format(errors, stream) }) as unknown as ExecutionResult
  return createHandler<FastifyRequest, EventStream, Context>({
    // No connection is shared by several operations: a token would name one.
    authenticate: () => null,
    onSubscribe({ context: stream }, { query, operationName, variables }) {
      const { caller } = stream
      const document = prepare.document(query)
      if (!document.ok) return refuse(document.errors, stream)
      const operation = prepare.operation(document.value, operationName, variables, caller)
      if (!operation.ok) {
        stream.refused = caller.owner === null && operation.errors[0]?.extensions.code === 'UNAUTHENTICATED'
        return refuse(operation.errors, stream)
      }
      return {
        schema,
        document: document.value,
        contextValue: createContext(caller, stream.id) as unknown as Context,
        operationName,
        variableValues: variables,
      }
    },
    // `prepare` has done it.
    validate: () => [],
    async onNext(_context, { context: stream }, result) {
      await stream.mark()
      const { errors } = result as ExecutionResult
      return errors ? { ...result, errors: format(errors, stream) } : undefined
    },
  })
}

/** One connection: who reads, and which version is on its way. */
class EventStream {
  readonly id: string
  readonly caller: {
    readonly owner: string | null
    readonly operator: boolean
    readonly stream: StreamTransport
  }
  refused = false
  readonly #reply: FastifyReply
  #version: number | undefined
  #id: number | undefined
  #isOver = false
  #taken = Promise.resolve()
  #take = () => undefined as void

  constructor(identity: Identity, streams: HttpStreams, request: FastifyRequest, reply: FastifyReply) {
    this.id = request.id
    this.#reply = reply
    const transport = streams.transport(identity)
    const lastEventId = toText(request.headers['last-event-id'])
    this.caller = {
      owner: identity.owner,
      operator: identity.operator,
      stream: {
        ...transport,
        afterVersion: /^\d{1,9}$/.test(lastEventId ?? '') ? Number(lastEventId) : null,
        // Ended without a `complete`, so that the client connects again: to another replica.
        onOpen: (watch, guestTask) =>
          transport.onOpen({ repeat: () => watch.repeat(), end: () => void reply.raw.destroy() }, guestTask),
        onVersion: (version) => void (this.#version = version),
      },
    }
  }

  /** To be awaited before an event is queued: until the one before has been taken by the reader, the task moves on. */
  async mark(): Promise<void> {
    await this.#taken
    if (this.#isOver) return
    this.#id = this.#version
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#taken = promise
    this.#take = resolve
  }

  /** Ends the operation when the connection closes, or has closed already. */
  endWithConnection(body: AsyncGenerator<string, void>): void {
    const { raw } = this.#reply
    const end = () => {
      this.#isOver = true
      this.#take()
      void body.return()
    }
    if (raw.destroyed) end()
    else raw.once('close', end)
  }

  /** What goes over the wire. */
  async *toFrames(body: AsyncGenerator<string, void>): AsyncGenerator<string, void> {
    try {
      for await (const frame of body) {
        const isEvent = frame.startsWith('event: next')
        yield isEvent && this.#id !== undefined ? `id: ${this.#id}\n${frame}` : frame
        if (isEvent) this.#take()
      }
    } finally {
      this.#take()
    }
  }
}

function toText(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(', ') : header
}

/** What the protocol's library says against a request that it does not take. */
function toMessage(body: string | null | object): string {
  const { errors } = (typeof body === 'string' ? JSON.parse(body) : {}) as { errors?: { message: string }[] }
  return errors?.[0]?.message ?? 'The request is not one of GraphQL over server-sent events.'
}
