import { randomUUID } from 'node:crypto'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { OperationTypeNode, type GraphQLSchema } from 'graphql'
import { CloseCode, handleProtocols, makeServer } from 'graphql-ws'
import { WebSocketServer, type WebSocket } from 'ws'
import type { CreateContext, OperationContext } from '../graphql/context.ts'
import { requestError, toPublicError } from '../graphql/errors.ts'
import { runLive, type LiveArgs } from '../graphql/live.ts'
import type { Prepare } from '../graphql/prepare.ts'
import type { Log } from '../tasks/ports.ts'
import { isHostAllowed, isHostValid, isOriginAllowed, type AccessPolicy } from './access.ts'
import { toTextFrame } from './text-frame.ts'
import { SocketSession, type SessionOptions } from './socket-session.ts'

const PATH = '/graphql'
const MAX_MESSAGE_BYTES = 64 * 1024
/** A client that has not answered a ping by the time of the next one is gone. */
const PING_EVERY_MS = 12_000
/** In how many parts all sockets are pinged, so that thousands are no burst. */
const PING_TICKS = 120
/** How often idle sockets are looked for. */
const SWEEP_EVERY_MS = 60_000
/** How long clients have to answer a close frame. */
const CLOSE_TIMEOUT_MS = 2_000

export interface GraphqlSocket extends SessionOptions {
  readonly schema: GraphQLSchema
  readonly prepare: Prepare
  readonly createContext: CreateContext
  readonly access: AccessPolicy
  /** Operations that may run on one socket at once; null: any number. */
  readonly socketOperationLimit: number | null
}

/** The sockets of a server. */
export interface GraphqlSockets extends AsyncDisposable {
  count(): { readonly open: number; readonly operations: number }
  /**
   * Takes no new sockets and no new mutations, and closes the sockets there are with 1001, one after the other,
   * within this many milliseconds: so that not all of them come to the other replicas at once. One on which a
   * mutation runs is closed once that has been answered.
   */
  drain(windowMs: number): Promise<void>
}

/** Between the ends of two sockets, unless there are too many for the window. */
const DRAIN_STEP_MS = 20

/**
 * GraphQL over WebSocket (graphql-transport-ws) on the server's `/graphql`: queries, mutations and
 * subscriptions. Disposing closes every socket with 1001 at once.
 */
export function openGraphqlSocket(server: Server, options: GraphqlSocket): GraphqlSockets {
  let draining = false
  const protocol = createProtocol(options, () => draining)
  const serverOptions = {
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    handleProtocols,
    closeTimeout: CLOSE_TIMEOUT_MS,
  }
  const sockets = new WebSocketServer(serverOptions)
  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // Node has taken its own listener off with the upgrade, and an error without any ends the process.
    socket.on('error', destroy)
    const refusal = toRefusal(request, options.access)
    if (refusal !== undefined) {
      const answer = `HTTP/1.1 ${refusal}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`
      // `end` alone would wait for ever for a client that does not close.
      socket.end(answer, () => socket.destroy())
      return
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) =>
      accept(webSocket, socket, request.headers.authorization),
    )
  }
  const owners = new Map<string | null, number>()
  const sessions = new Map<WebSocket, SocketSession>()
  const pings = pingRegularly(sockets)
  const accept = (socket: WebSocket, wire: Duplex, authorization: string | undefined) => {
    const session = new SocketSession(socket, owners, options)
    sessions.set(socket, session)
    pings.watch(socket)
    const extra = { session, authorization, send: createSend(socket, wire) }
    serve(protocol, socket, extra, () => sessions.delete(socket), options.log)
  }
  server.on('upgrade', onUpgrade)
  const sweep = () => {
    for (const session of sessions.values()) session.closeIfIdle()
    sweeping = options.clock.after(SWEEP_EVERY_MS, sweep)
  }
  let sweeping = options.clock.after(SWEEP_EVERY_MS, sweep)
  const drain = async (windowMs: number) => {
    draining = true
    pings[Symbol.dispose]()
    sweeping[Symbol.dispose]()
    server.off('upgrade', onUpgrade)
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    sockets.close(() => resolve())
    const open = [...sockets.clients]
    const stepMs = Math.min(DRAIN_STEP_MS, windowMs / open.length)
    const startedAt = performance.now()
    for (const [index, socket] of open.entries()) {
      const waitMs = startedAt + index * stepMs - performance.now()
      if (waitMs > 1) await pause(waitMs)
      const close = () => socket.close(1001, 'Going away')
      if (windowMs === 0) close()
      else void sessions.get(socket)?.quiet().then(close)
    }
    await closed
  }
  return {
    count: () => ({
      open: sessions.size,
      operations: [...sessions.values()].reduce((sum, { operations }) => sum + operations, 0),
    }),
    drain,
    [Symbol.asyncDispose]: () => drain(0),
  }
}

/** What is known of a socket beside the protocol's own state. */
interface Extra {
  readonly session: SocketSession
  /** The Authorization header of the upgrade request. */
  readonly authorization: string | undefined
  /** Sends a message, given in parts; a promise when one is still on its way: who does not read is waited for. */
  send(...parts: readonly string[]): Promise<void> | undefined
}

function createProtocol(
  { schema, prepare, log, createContext, socketOperationLimit }: GraphqlSocket,
  isDraining: () => boolean,
) {
  return makeServer<Record<string, unknown>, Extra>({
    // The session sees to it.
    connectionInitWaitTimeout: 0,
    onConnect({ connectionParams = {}, subscriptions, extra: { session, authorization } }) {
      const countOperations = () => Object.keys(subscriptions).length
      const proof = {
        authorization: readAuthorization(connectionParams) ?? authorization,
        watchToken: connectionParams.watchToken,
      }
      return session.open(proof, countOperations)
    },
    async onPing({ extra: { session } }, payload) {
      const authorization = readAuthorization(payload ?? {})
      if (authorization !== undefined) await session.extend(authorization)
    },
    // Errors are returned, never thrown: a throw in here would close the socket with all its operations.
    subscribe: (args) => runLive(args as LiveArgs, log),
    onSubscribe({ subscriptions, extra }, id, { query, operationName, variables }) {
      if (socketOperationLimit !== null && Object.keys(subscriptions).length > socketOperationLimit)
        return [requestError('TOO_MANY_OPERATIONS', 'Too many operations run on this socket.')]
      const document = prepare.document(query)
      if (!document.ok) return document.errors
      const { caller } = extra.session
      const operation = prepare.operation(document.value, operationName, variables, caller)
      if (!operation.ok) return operation.errors
      if (operation.value.operation === OperationTypeNode.MUTATION) {
        // What is paid for now might be cut off in a moment.
        if (isDraining()) return [GOING_AWAY]
        extra.session.begin(id)
      }
      const prefix = `{"id":${JSON.stringify(id)},"type":"next","payload":`
      const args: LiveArgs = {
        send: (result) => extra.send(prefix, result, '}'),
        schema,
        document: document.value,
        contextValue: createContext(caller),
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
    onComplete({ extra }, id) {
      extra.session.end(id)
    },
    onError(_socket, _id, _payload, errors) {
      const correlationId = randomUUID()
      return errors.map((error) => toPublicError(error, correlationId, log))
    },
  })
}

const GOING_AWAY = requestError('SERVICE_UNAVAILABLE', 'This replica is stopping: ask another.', {
  retryable: true,
})

/** A token in a payload, under either spelling of the header's name; routers send an empty one for none. */
function readAuthorization({ Authorization, authorization }: Record<string, unknown>): unknown {
  return [Authorization, authorization].find((value) => value != null && value !== '')
}

type Protocol = ReturnType<typeof createProtocol>

/** Finds out by pings which clients have gone without a word. */
function pingRegularly(sockets: WebSocketServer): Disposable & { watch(socket: WebSocket): void } {
  const silent = new WeakSet<WebSocket>()
  function onPong(this: WebSocket) {
    silent.delete(this)
  }
  let round: WebSocket[] = []
  let tick = 0
  const timer = setInterval(() => {
    if (tick === 0) round = [...sockets.clients]
    const first = Math.ceil((tick * round.length) / PING_TICKS)
    tick += 1
    for (const socket of round.slice(first, Math.ceil((tick * round.length) / PING_TICKS))) {
      if (silent.has(socket)) socket.terminate()
      silent.add(socket)
      socket.ping()
    }
    tick %= PING_TICKS
  }, PING_EVERY_MS / PING_TICKS)
  return { watch: (socket) => void socket.on('pong', onPong), [Symbol.dispose]: () => clearInterval(timer) }
}

/** On the socket as its `this`; none for each, which would hold on to the request. */
function destroy(this: Duplex): void {
  this.destroy()
}

function serve(protocol: Protocol, socket: WebSocket, extra: Extra, onClosed: () => void, log: Log): void {
  // What goes wrong on the wire (a frame too large, a reset) ends the socket; `ws` has closed it already.
  socket.on('error', ignore)
  const closed = protocol.opened(
    {
      protocol: socket.protocol,
      send: extra.send,
      close: (code, reason) => socket.close(code, reason),
      onMessage: (take) =>
        socket.on('message', (data) => {
          extra.session.touch()
          take((data as Buffer).toString()).catch((error: unknown) => {
            // graphql-ws throws at a frame that only servers send; the protocol has a code for it.
            if (String(error).startsWith('Error: Unexpected message of type')) {
              socket.close(CloseCode.BadRequest, 'Invalid message received')
              return
            }
            log.error({ err: error }, 'a socket message failed unexpectedly')
            socket.close(CloseCode.InternalServerError, 'Internal server error')
          })
        }),
    },
    extra,
  )
  socket.once('close', (code, reason) => {
    onClosed()
    extra.session[Symbol.dispose]()
    void closed(code, String(reason))
  })
}

function ignore(): void {
  // Nothing to do.
}

/**
 * Sends a message. While the one before is still on its way it gives a promise: who does not read is waited for.
 * Written to the wire by ourselves, between the frames of `ws`, which would take two pieces for it.
 */
function createSend(socket: WebSocket, wire: Duplex): Extra['send'] {
  return (...parts) => {
    if (socket.readyState !== socket.OPEN) return undefined
    if (wire.writableLength > 0)
      return new Promise((resolve) => wire.write(toTextFrame(parts), () => resolve()))
    wire.write(toTextFrame(parts))
    return undefined
  }
}

/** Why an upgrade is not made, as a status line; undefined: it is. */
function toRefusal(request: IncomingMessage, access: AccessPolicy): string | undefined {
  if (request.url?.split('?')[0] !== PATH) return '404 Not Found'
  if (!isHostValid(request.headers.host)) return '400 Bad Request'
  const welcome = isHostAllowed(access, request.headers.host) && isOriginAllowed(access, request)
  return welcome ? undefined : '403 Forbidden'
}
