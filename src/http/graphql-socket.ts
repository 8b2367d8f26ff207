import { randomUUID } from 'node:crypto'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ExecutionArgs, GraphQLSchema } from 'graphql'
import { CloseCode, handleProtocols, makeServer } from 'graphql-ws'
import { WebSocketServer, type WebSocket } from 'ws'
import type { OperationContext } from '../graphql/context.ts'
import { toPublicError } from '../graphql/errors.ts'
import type { Prepare } from '../graphql/prepare.ts'
import type { Log } from '../tasks/ports.ts'

const PATH = '/graphql'
const MAX_MESSAGE_BYTES = 64 * 1024
/** A client that has not answered a ping by the time of the next one is gone. */
const PING_EVERY_MS = 12_000
/** How long clients have to answer our close frame when the service ends. */
const CLOSE_TIMEOUT_MS = 2_000

export interface GraphqlSocket {
  readonly schema: GraphQLSchema
  readonly prepare: Prepare
  readonly log: Log
  createContext(correlationId: string): OperationContext
}

/**
 * GraphQL over WebSocket (graphql-transport-ws) on the server's `/graphql`: queries, mutations and
 * subscriptions. Disposing closes every socket with 1001.
 */
export function openGraphqlSocket(server: Server, options: GraphqlSocket): AsyncDisposable {
  const protocol = createProtocol(options)
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES, handleProtocols })
  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (request.url?.split('?')[0] !== PATH) {
      refuse(socket)
      return
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) =>
      sockets.emit('connection', webSocket, request),
    )
  }
  sockets.on('connection', (socket) => serve(protocol, socket, options.log))
  server.on('upgrade', onUpgrade)
  const pings = pingRegularly(sockets)
  return {
    async [Symbol.asyncDispose]() {
      pings[Symbol.dispose]()
      server.off('upgrade', onUpgrade)
      const { promise: closed, resolve } = Promise.withResolvers<void>()
      sockets.close(() => resolve())
      for (const socket of sockets.clients) socket.close(1001, 'Going away')
      const timer = setTimeout(
        () => sockets.clients.forEach((socket) => socket.terminate()),
        CLOSE_TIMEOUT_MS,
      )
      await closed
      clearTimeout(timer)
    },
  }
}

function createProtocol({ schema, prepare, log, createContext }: GraphqlSocket) {
  return makeServer<Record<string, unknown>, undefined>({
    // Errors are returned, never thrown: a throw in here would close the socket with all its operations.
    onSubscribe(_socket, _id, { query, operationName, variables }) {
      const document = prepare.document(query)
      if (!document.ok) return document.errors
      const operation = prepare.operation(document.value, operationName, variables)
      if (!operation.ok) return operation.errors
      const args: ExecutionArgs = {
        schema,
        document: document.value,
        contextValue: createContext(randomUUID()),
        operationName: operationName ?? null,
        variableValues: variables ?? null,
      }
      return args
    },
    onNext(_socket, _id, _payload, { contextValue }, { errors, data }) {
      if (!errors) return undefined
      const { correlationId } = contextValue as OperationContext
      const formatted = errors.map((error) => toPublicError(error, correlationId, log))
      return data === undefined ? { errors: formatted } : { errors: formatted, data }
    },
    onError(_socket, _id, _payload, errors) {
      const correlationId = randomUUID()
      return errors.map((error) => toPublicError(error, correlationId, log))
    },
  })
}

type Protocol = ReturnType<typeof createProtocol>

/** Finds out by pings, of all sockets at once, which clients have gone without a word. */
function pingRegularly(sockets: WebSocketServer): Disposable {
  const silent = new WeakSet<WebSocket>()
  sockets.on('connection', (socket) => socket.on('pong', () => silent.delete(socket)))
  const timer = setInterval(() => {
    for (const socket of sockets.clients) {
      if (silent.has(socket)) socket.terminate()
      silent.add(socket)
      socket.ping()
    }
  }, PING_EVERY_MS)
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

function serve(protocol: Protocol, socket: WebSocket, log: Log): void {
  // What goes wrong on the wire (a frame too large, a reset) ends the socket; `ws` has closed it already.
  socket.on('error', () => undefined)
  const closed = protocol.opened(
    {
      protocol: socket.protocol,
      // Resolves when the frame has left: a client that does not read is not sent more, it is waited for.
      send: (frame) =>
        new Promise((resolve) => {
          if (socket.readyState !== socket.OPEN) resolve()
          else socket.send(frame, () => resolve())
        }),
      close: (code, reason) => socket.close(code, reason),
      onMessage: (take) =>
        socket.on('message', (data) => {
          take((data as Buffer).toString()).catch((error: unknown) => {
            log.error({ err: error }, 'a socket message failed unexpectedly')
            socket.close(CloseCode.InternalServerError, 'Internal server error')
          })
        }),
    },
    undefined,
  )
  socket.once('close', (code, reason) => void closed(code, String(reason)))
}

function refuse(socket: Duplex): void {
  socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
}
