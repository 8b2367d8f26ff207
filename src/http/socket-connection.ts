import { CloseCode, MessageType, parseMessage, type Message } from 'graphql-ws'
import type { Log } from '../tasks/ports.ts'
import type { SocketOperations } from './socket-operations.ts'
import type { SocketSession } from './socket-session.ts'
import type { SocketWire } from './socket-wire.ts'

export interface ConnectionParts {
  readonly wire: SocketWire
  readonly session: SocketSession
  readonly operations: SocketOperations
  /** The Authorization header of the upgrade request. */
  readonly authorization: string | undefined
  readonly log: Log
}

/** The protocol graphql-transport-ws on one socket, server side. */
export class SocketConnection {
  readonly #parts: ConnectionParts
  #hasInit = false
  #isAcknowledged = false

  constructor(parts: ConnectionParts) {
    this.#parts = parts
  }

  /** Takes a message of the client. Does not throw; nothing is run once the socket is closing. */
  receive(text: string): void {
    const { wire, session, operations } = this.#parts
    session.touch()
    if (!wire.isOpen) return
    const message = parse(text)
    switch (message?.type) {
      case MessageType.ConnectionInit:
        void this.#guard(this.#init(message.payload ?? {}))
        return
      case MessageType.Ping:
        void this.#guard(this.#ping(message.payload ?? undefined))
        return
      case MessageType.Pong:
        return
      case MessageType.Subscribe:
        if (!this.#isAcknowledged) wire.close(CloseCode.Unauthorized, 'Unauthorized')
        else operations.start(message.id, message.payload, session.caller)
        return
      case MessageType.Complete:
        operations.complete(message.id)
        return
      default:
        wire.close(CloseCode.BadRequest, 'Invalid message received')
    }
  }

  async #init(payload: Record<string, unknown>): Promise<void> {
    const { wire, session } = this.#parts
    if (this.#hasInit) {
      wire.close(CloseCode.TooManyInitialisationRequests, 'Too many initialisation requests')
      return
    }
    this.#hasInit = true
    const authorization = readAuthorization(payload) ?? this.#parts.authorization
    if (!(await session.open({ authorization, watchToken: payload.watchToken }))) return
    this.#isAcknowledged = true
    wire.send('{"type":"connection_ack"}')
  }

  async #ping(payload: Record<string, unknown> | undefined): Promise<void> {
    const { wire, session } = this.#parts
    const pong = toPong(payload)
    if (pong === undefined) {
      wire.close(CloseCode.BadRequest, 'Invalid message received')
      return
    }
    const authorization = payload && readAuthorization(payload)
    // Tokens are verified one packet after the other, however fast they are sent.
    if (authorization !== undefined) await wire.hold(session.extend(authorization))
    wire.send(pong)
  }

  async #guard(work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (error) {
      this.#parts.log.error({ err: error }, 'a socket message failed unexpectedly')
      this.#parts.wire.close(CloseCode.InternalServerError, 'Internal server error')
    }
  }
}

/** Undefined: not a message of the protocol. The client is told by the close code. */
function parse(text: string): Message | undefined {
  try {
    return parseMessage(text)
  } catch {
    return undefined
  }
}

/** Undefined: the payload is nested too deeply to be written. */
function toPong(payload: Record<string, unknown> | undefined): string | undefined {
  try {
    return JSON.stringify({ type: 'pong', payload })
  } catch {
    return undefined
  }
}

/** A token in a payload, under either spelling of the header's name; routers send an empty one for none. */
function readAuthorization({ Authorization, authorization }: Record<string, unknown>): unknown {
  return [Authorization, authorization].find((value) => value != null && value !== '')
}
