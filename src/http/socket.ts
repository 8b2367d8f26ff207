import type { Server } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { handleProtocols } from 'graphql-ws'
import { WebSocketServer, type WebSocket } from 'ws'
import type { AccessPolicy } from './access.ts'
import { Counts } from './counts.ts'
import { SocketOperations, type OperationOptions } from './socket-operations.ts'
import { pingRegularly } from './socket-pings.ts'
import { createProtocol, SocketConnection } from './socket-protocol.ts'
import { SocketSession, type SessionOptions } from './socket-session.ts'
import { takeUpgrades, type Open } from './socket-upgrades.ts'
import { GOING_AWAY, SocketWire } from './socket-wire.ts'

const MAX_MESSAGE_BYTES = 64 * 1024
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
  /**
   * The limit of sockets of one owner, or of all guests with watch tokens of one task together; null: no
   * limit.
   */
  readonly ownerSocketLimit: number | null
  /** The limit of sockets without any token; null: no limit. */
  readonly guestSocketLimit: number | null
}

/** The sockets of a server. */
export interface GraphqlSockets extends AsyncDisposable {
  count(): { readonly open: number; readonly operations: number }
  /**
   * Accepts no new sockets and no new mutations. Closes the open sockets with 1001, one after the other,
   * within `windowMs` milliseconds, so that their clients do not all reconnect at once. A socket with a
   * running mutation is closed after the response.
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

/**
 * The same listeners for all sockets: they find the connection by `this`, because a closure for each socket
 * would take memory.
 */
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

function ignore(): void {
  // Nothing to do.
}
