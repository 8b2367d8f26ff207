import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import type { WebSocket, WebSocketServer } from 'ws'
import { isHostAllowed, isHostValid, isOriginAllowed, type AccessPolicy } from './access.ts'

const PATH = '/graphql'

/** Opens what serves a socket; `authorization`: the header of its upgrade request. */
export type Open<T> = (socket: WebSocket, stream: Duplex, authorization: string | undefined) => T

/**
 * Accepts allowed upgrade requests until the returned function is called; then refuses all with 503, so that
 * none hangs.
 */
export function takeUpgrades(
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

/** A listener with `this`, because a closure for each socket would keep the request in memory. */
function destroy(this: Duplex): void {
  this.destroy()
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
