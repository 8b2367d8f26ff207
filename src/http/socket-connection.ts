import { CloseCode, MessageType, parseMessage, type Message } from 'graphql-ws'
import type { WebSocket } from 'ws'
import type { Log } from '../tasks/ports.ts'
import type { Protocol, SocketParts } from './socket-protocol.ts'

/** Serves the protocol on a socket. A message reaches graphql-ws only while the socket is open and if graphql-ws can handle it. */
export function connectSocket(protocol: Protocol, socket: WebSocket, parts: SocketParts, log: Log): void {
  const { wire, session, operations } = parts
  const fail = (error: unknown) => {
    log.error({ err: error }, 'a socket message failed unexpectedly')
    wire.close(CloseCode.InternalServerError, 'Internal server error')
  }
  const receive = (text: string, handle: (text: string) => Promise<void>) => {
    session.touch()
    // graphql-ws handles messages after a close frame, too.
    if (!wire.isOpen) return
    const message = parse(text)
    if (message === undefined) wire.close(CloseCode.BadRequest, 'Invalid message received')
    else operations.pass(message, () => handle(text)).catch(fail)
  }
  const adapter = {
    protocol: socket.protocol,
    send: (text: string) => wire.send(text),
    close: (code = CloseCode.InternalServerError, reason = '') => wire.close(code, reason),
    onMessage: (handle: (text: string) => Promise<void>) =>
      void socket.on('message', (data) => receive((data as Buffer).toString(), handle)),
  }
  const stop = protocol.opened(adapter, parts)
  socket.once('close', () => {
    session[Symbol.dispose]()
    stop().catch(fail)
  })
}

const FROM_CLIENTS = new Set([
  MessageType.ConnectionInit,
  MessageType.Ping,
  MessageType.Pong,
  MessageType.Subscribe,
  MessageType.Complete,
])

/** Undefined: graphql-ws would refuse the message, or throw. */
function parse(text: string): Message | undefined {
  try {
    const message = parseMessage(text)
    // Throws if the payload is nested too deeply to be sent back.
    if (message.type === MessageType.Ping) JSON.stringify(message)
    return FROM_CLIENTS.has(message.type) ? message : undefined
  } catch {
    return undefined
  }
}
