import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import {
  execute,
  OperationTypeNode,
  subscribe,
  type ExecutionResult,
  type GraphQLError,
  type GraphQLSchema,
} from 'graphql'
import * as z from 'zod'
import type { Caller, CreateContext } from '../graphql/context.ts'
import { requestError, toPublicError } from '../graphql/errors.ts'
import { maskResult } from '../graphql/mask-result.ts'
import { toOutageHead } from '../graphql/outage.ts'
import type { Prepare } from '../graphql/prepare.ts'
import type { Log } from '../tasks/ports.ts'
import { parseTraceparent } from '../tasks/tracing.ts'
import type { HttpAuthorization } from './http-authorization.ts'
import { sendError } from './http-errors.ts'
import type { HttpStreams } from './http-streams.ts'
import { JSON_TYPE } from './media-type.ts'
import type { OperationRecords, RunningOperation } from './operation-records.ts'

const PATH = '/graphql/stream'
const EVENT_STREAM = 'text/event-stream'
const PING = ':\n\n'
const PING_EVERY_MS = 12_000
const COMPLETE = 'event: complete\ndata:\n\n'

interface StreamRoute {
  readonly schema: GraphQLSchema
  readonly prepare: Prepare
  readonly createContext: CreateContext
  readonly authorization: HttpAuthorization
  readonly streams: HttpStreams
  readonly records: OperationRecords
  readonly log: Log
}

const graphqlRequest = z.object({
  query: z.string(),
  operationName: z.string().nullish(),
  variables: z.record(z.string(), z.unknown()).nullish(),
  extensions: z.record(z.string(), z.unknown()).nullish(),
})

/**
 * GraphQL over server-sent events (the protocol of graphql-sse, distinct connections mode), for clients and
 * routers without WebSocket. The id of an event is the version of its task: a browser's EventSource sends it
 * back as `Last-Event-ID` when it reconnects.
 */
export function addStreamRoute(app: FastifyInstance, route: StreamRoute): void {
  const { authorization } = route
  const handle = async (request: FastifyRequest, reply: FastifyReply) => {
    if (!request.headers.accept?.toLowerCase().includes(EVENT_STREAM))
      return sendError(reply, 406, `Only ${EVENT_STREAM} is served here.`)
    // Browsers send JSON to another origin only after a preflight request (CORS).
    if (request.method === 'POST' && typeof request.body !== 'object')
      return sendError(reply, 415, 'The body must be application/json.')
    const { data } = graphqlRequest.safeParse(readRequest(request))
    if (data === undefined) {
      const message = 'The request needs a query. Variables and extensions must be JSON objects.'
      return sendError(reply, 400, message)
    }
    const { query, operationName, variables } = data
    const stream = new EventStream(route, request, reply)
    const document = route.prepare.document(query)
    if (!document.ok) return stream.refuse(document.errors)
    const operation = route.prepare.operation(document.value, operationName, variables, stream.caller)
    if (!operation.ok) {
      const isGuestRefused =
        stream.caller.owner === null && operation.errors[0]?.extensions.code === 'UNAUTHENTICATED'
      if (!isGuestRefused) return stream.refuse(operation.errors)
      stream.record.refuse(operation.errors)
      return authorization.refuseGuest(request, reply)
    }
    stream.record.describe(operation.value, operationName)
    const type = operation.value.operation
    if (type === OperationTypeNode.MUTATION && request.method === 'GET') {
      const refusal = requestError('BAD_REQUEST', 'Mutations are not allowed by GET: use POST.')
      stream.record.refuse([refusal])
      return sendError(reply, 405, refusal.message)
    }
    const run = type === OperationTypeNode.SUBSCRIPTION ? subscribe : execute
    return stream.run(async () =>
      run({
        schema: route.schema,
        document: document.value,
        contextValue: route.createContext(stream.caller, request.id, stream.record),
        operationName,
        variableValues: variables,
      }),
    )
  }
  const options = { onRequest: authorization.allowGuests }
  app.get(PATH, options, handle)
  app.post(PATH, options, handle)
}

/** The parameters of a request; undefined if they are not JSON. */
function readRequest({ method, url, body }: FastifyRequest): unknown {
  if (method === 'POST') return body
  const search = new URLSearchParams(url.split('?')[1])
  const parse = (text: string): unknown => (text === '' ? undefined : JSON.parse(text))
  try {
    return {
      query: search.get('query'),
      operationName: search.get('operationName'),
      variables: parse(search.get('variables') ?? ''),
      extensions: parse(search.get('extensions') ?? ''),
    }
  } catch {
    return undefined
  }
}

type Begun = AsyncGenerator<ExecutionResult, void> | ExecutionResult

function isStream(begun: Begun): begun is AsyncGenerator<ExecutionResult, void> {
  return Symbol.asyncIterator in begun
}

async function* toOne(result: ExecutionResult): AsyncGenerator<ExecutionResult, void> {
  yield await Promise.resolve(result)
}

/** One connection. */
class EventStream {
  readonly caller: Caller
  readonly record: RunningOperation
  readonly #route: StreamRoute
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  /** The version of the latest event. */
  #version: number | undefined

  constructor(route: StreamRoute, request: FastifyRequest, reply: FastifyReply) {
    this.#route = route
    this.#request = request
    this.#reply = reply
    const identity = route.authorization.identity(request)
    const transport = route.streams.transport(identity, 'sse')
    const record = route.records({
      transport: 'sse',
      owner: identity.owner,
      correlationId: request.id,
      traceparent: parseTraceparent(request.headers.traceparent),
    })
    this.record = record
    const lastEventId = String(request.headers['last-event-id'])
    this.caller = {
      owner: identity.owner,
      operator: identity.operator,
      stream: {
        ...transport,
        afterVersion: /^\d{1,9}$/.test(lastEventId) ? Number(lastEventId) : null,
        // Without `complete`, so that the client reconnects: to another replica.
        onOpen(watch, guestTask) {
          const repeat = () => watch.repeat()
          const end = () => {
            record.note('SERVICE_UNAVAILABLE')
            reply.raw.destroy()
          }
          return transport.onOpen({ repeat, end, ending: () => watch.ending() }, guestTask)
        },
        onVersion: (version) => void (this.#version = version),
      },
    }
  }

  /** Sends the errors of an operation that is not run. */
  refuse(errors: readonly GraphQLError[]): FastifyReply {
    this.record.refuse(errors)
    return this.#send(toOne({ errors }))
  }

  /** Runs an operation and sends its results. */
  async run(begin: () => Promise<Begun>): Promise<FastifyReply> {
    const { record } = this
    let result: Begun | undefined
    try {
      result = await record.within(async () => {
        const begun = await begin()
        if (!isStream(begun)) record.noteErrors(begun)
        return begun
      })
    } finally {
      if (result === undefined || !isStream(result)) record.end()
    }
    return isStream(result) ? this.#send(result) : this.#sendOnly(result)
  }

  /**
   * Sends the result of a query or mutation: as an event, or as a response with a status if the store is
   * away.
   */
  #sendOnly(result: ExecutionResult): FastifyReply {
    const masked = maskResult(result, this.#request.id, this.#route.log)
    const head = toOutageHead(masked)
    if (head === undefined) return this.#send(toOne(result))
    return this.#reply.code(head.status).headers(head.headers).type(JSON_TYPE).send(JSON.stringify(masked))
  }

  /** Sends the results, and ends them when the connection closes. */
  #send(results: AsyncGenerator<ExecutionResult, void>): FastifyReply {
    const { raw } = this.#reply
    const ping = setInterval(() => {
      if (raw.headersSent && !raw.writableNeedDrain) raw.write(PING)
    }, PING_EVERY_MS)
    const end = () => {
      clearInterval(ping)
      void this.record.endStream()
      results.return().catch((error: unknown) => {
        this.#route.log.error(
          { err: error, correlationId: this.#request.id },
          'failed to end an event stream',
        )
      })
    }
    if (raw.destroyed) end()
    else raw.once('close', end)
    return (
      this.#reply
        .header('content-type', `${EVENT_STREAM}; charset=utf-8`)
        .header('cache-control', 'no-store, no-transform')
        // Proxies such as nginx would buffer events.
        .header('x-accel-buffering', 'no')
        // Requests the next event only after the client has read the previous one, so that a slow client gets
        // the newest state.
        .send(Readable.from(this.#toFrames(results), { objectMode: false, highWaterMark: 1 }))
    )
  }

  async *#toFrames(results: AsyncIterable<ExecutionResult>): AsyncGenerator<string, void> {
    // Some browsers report an open stream only after its first bytes.
    yield PING
    try {
      for await (const { errors, ...result } of results) {
        const id = this.#version === undefined ? '' : `id: ${this.#version}\n`
        this.record.noteErrors({ errors })
        const payload = errors ? { ...result, errors: this.#format(errors) } : result
        yield `${id}event: next\ndata: ${JSON.stringify(payload)}\n\n`
      }
    } catch (error) {
      this.record.noteError(error)
      throw error
    }
    yield COMPLETE
  }

  #format(errors: readonly GraphQLError[]) {
    return errors.map((error) => toPublicError(error, this.#request.id, this.#route.log))
  }
}
