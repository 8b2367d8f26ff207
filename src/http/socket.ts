import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { handleProtocols } from 'graphql-ws'
import { WebSocketServer, type WebSocket } from 'ws'
import { isHostAllowed, isHostValid, isOriginAllowed, type AccessPolicy } from './access.ts'
import { Counts } from './counts.ts'
import { SocketOperations, type OperationOptions } from './socket-operations.ts'
import { createProtocol, SocketConnection } from './socket-protocol.ts'
import { SocketSession, type SessionOptions } from './socket-session.ts'
import { GOING_AWAY, SocketWire } from './socket-wire.ts'

const PATH = '/graphql'
const MAX_MESSAGE_BYTES = 64 * 1024
/** The interval of pings. A client that has not answered the previous ping is disconnected. */
const PING_EVERY_MS = 12_000
/** All sockets are pinged in this many parts, to avoid a burst. */
const PING_TICKS = 120
/** How often idle sockets are closed. */
const SWEEP_EVERY_MS = 60_000
/** How long clients have to answer a close frame. */
const CLOSE_TIMEOUT_MS = 2_000

const SERVER_OPTIONS = {
  noServer: true,
  maxPayload: MAX_MESSAGE_BYTES,
  handleProtocols,
  // Compression would take 300 KB per socket, and unsent bytes could not be counted.
  perMessageDeflate: false,
  closeTimeout: CLOSE_TIMEOUT_MS,
  // `SocketWire` answers pings, because what `ws` sends is not bounded.
  autoPong: false,
}

interface GraphqlSocket extends SessionOptions, Omit<OperationOptions, 'isDraining'> {
  readonly access: AccessPolicy
  /** The limit of sockets of one owner, or of all guests with watch tokens of one task together; null: no limit. */
  readonly ownerSocketLimit: number | null
  /** The limit of sockets without any token; null: no limit. */
  readonly guestSocketLimit: number | null
}

/** The sockets of a server. */
export interface GraphqlSockets extends AsyncDisposable {
  count(): { readonly open: number; readonly operations: number }
  /**
   * Accepts no new sockets and no new mutations. Closes the open sockets with 1001, one after the other, within
   * `windowMs` milliseconds, so that their clients do not all reconnect at once. A socket with a running mutation is
   * closed after the response.
   */
  drain(windowMs: number): Promise<void>
}

/** The pause between two closes; shorter if the window does not suffice. */
const DRAIN_STEP_MS = 20

/**
 * GraphQL over WebSocket (graphql-transport-ws) on the server's `/graphql`: queries, mutations and
 * subscriptions. Disposing closes every socket with 1001 at once.
 */
export function openGraphqlSocket(server: Server, options: GraphqlSocket): GraphqlSockets {
  let draining = false
  const sockets = new WebSocketServer(SERVER_OPTIONS)
  const open = new Map<WebSocket, SocketConnection>()
  const listeners = createListeners(open)
  const pings = pingRegularly(sockets)
  const openSocket = createOpener(options, () => draining)
  const stopUpgrades = takeUpgrades(server, sockets, options.access, (socket, stream, authorization) => {
    open.set(socket, openSocket(socket, stream, authorization))
    for (const [event, listener] of listeners) socket.on(event, listener)
    pings.watch(socket)
  })
  const sweep = () => {
    for (const { session, operations } of open.values()) session.closeIfIdle(operations.size)
    sweeping = options.clock.after(SWEEP_EVERY_MS, sweep)
  }
  let sweeping = options.clock.after(SWEEP_EVERY_MS, sweep)
  const drain = async (windowMs: number) => {
    draining = true
    pings[Symbol.dispose]()
    sweeping[Symbol.dispose]()
    stopUpgrades()
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    sockets.close(() => resolve())
    await closeAll([...open.values()], windowMs)
    await closed
  }
  return {
    count: () => ({
      open: open.size,
      operations: [...open.values()].reduce((sum, { operations }) => sum + operations.size, 0),
    }),
    drain,
    [Symbol.asyncDispose]: () => drain(0),
  }
}

type Open<T> = (socket: WebSocket, stream: Duplex, authorization: string | undefined) => T

/** The same listeners for all sockets: they find the connection by `this`, because a closure for each socket would take memory. */
function createListeners(open: Map<WebSocket, SocketConnection>) {
  return Object.entries({
    message(this: WebSocket, data: Buffer) {
      open.get(this)?.receive(data.toString())
    },
    ping(this: WebSocket, data: Buffer) {
      open.get(this)?.wire.pong(data)
    },
    close(this: WebSocket) {
      const connection = open.get(this)
      open.delete(this)
      connection?.end()
    },
    // `ws` closes the socket itself after an error (a frame too large, a reset).
    error: ignore,
  })
}

function createOpener(options: GraphqlSocket, isDraining: () => boolean): Open<SocketConnection> {
  const { log } = options
  const protocol = createProtocol(log)
  const operationOptions = { ...options, isDraining }
  const counts = {
    sockets: new Counts(options.ownerSocketLimit),
    tokenless: new Counts(options.guestSocketLimit),
    guestStreams: new Counts(options.socketOperationLimit),
  }
  return (socket, stream, authorization) => {
    void options.fast?.load()
    const wire = new SocketWire(socket, stream, { log, toTextFrame: options.fast?.toTextFrame })
    const session = new SocketSession(wire, counts, options)
    const operations = new SocketOperations(wire, operationOptions)
    return new SocketConnection(protocol, socket, { wire, session, operations, authorization })
  }
}

/** Accepts allowed upgrade requests until the returned function is called; then refuses all with 503, so that none hangs. */
function takeUpgrades(
  server: Server,
  sockets: WebSocketServer,
  access: AccessPolicy,
  accept: Open<void>,
): () => void {
  let isStopped = false
  server.on('upgrade', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    // The upgrade removed Node's own listener, and an unhandled 'error' event ends the process.
    stream.on('error', destroy)
    const refusal = isStopped ? STOPPED : findRefusal(request, access)
    if (refusal === undefined)
      sockets.handleUpgrade(request, stream, head, (socket) =>
        accept(socket, stream, request.headers.authorization),
      )
    else {
      // A client that neither reads nor closes must not keep the connection.
      stream.once('finish', destroy)
      stream.end(toResponse(refusal))
    }
  })
  return () => {
    isStopped = true
  }
}

/** Closes sockets one after the other, each once no mutation runs on it. */
async function closeAll(open: readonly SocketConnection[], windowMs: number): Promise<void> {
  const stepMs = Math.min(DRAIN_STEP_MS, windowMs / open.length)
  const startedAt = performance.now()
  for (const [index, { wire, operations }] of open.entries()) {
    const waitMs = startedAt + index * stepMs - performance.now()
    if (waitMs > 1) await pause(waitMs)
    const close = () => wire.close(GOING_AWAY, 'Going away')
    if (windowMs === 0) close()
    else void operations.quiet().then(close)
  }
}

/** Detects by pings which clients have disconnected without a close frame. */
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

/** A listener with `this`, because a closure for each socket would keep the request in memory. */
function destroy(this: Duplex): void {
  this.destroy()
}

function ignore(): void {
  // Nothing to do.
}

/** A refused upgrade: its status line, and why. */
interface Refusal {
  readonly status: string
  readonly reason: string
}

const STOPPED: Refusal = { status: '503 Service Unavailable', reason: 'The service is stopping.' }
const ELSEWHERE: Refusal = {
  status: '404 Not Found',
  reason: `There is nothing here. Sockets open at ${PATH}, with the protocol graphql-transport-ws.`,
}
const INVALID_HOST: Refusal = {
  status: '400 Bad Request',
  reason: 'The Host header is missing or not valid.',
}
const FOREIGN: Refusal = {
  status: '403 Forbidden',
  reason: 'This host is not served here, or pages of this origin may not connect: see CORS_ORIGINS.',
}

/** Why an upgrade is refused; undefined: it is accepted. */
function findRefusal(request: IncomingMessage, access: AccessPolicy): Refusal | undefined {
  if (request.url?.split('?')[0] !== PATH) return ELSEWHERE
  if (!isHostValid(request.headers.host)) return INVALID_HOST
  const isAllowed = isHostAllowed(access, request.headers.host) && isOriginAllowed(access, request)
  return isAllowed ? undefined : FOREIGN
}

function toResponse({ status, reason }: Refusal): string {
  const head = [
    `HTTP/1.1 ${status}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(reason)}`,
  ]
  return `${head.join('\r\n')}\r\n\r\n${reason}`
}
