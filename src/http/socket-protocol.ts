import type { ExecutionArgs } from 'graphql'
import { CloseCode, makeServer, MessageType, parseMessage, type Message } from 'graphql-ws'
import type { WebSocket } from 'ws'
import { maskResult } from '../graphql/mask-result.ts'
import type { Log } from '../tasks/ports.ts'
import { parseTraceparent } from '../tasks/tracing.ts'
import { AcceptedOperation } from './accepted-operation.ts'
import type { SocketOperations } from './socket-operations.ts'
import type { SocketSession } from './socket-session.ts'
import type { SocketWire } from './socket-wire.ts'

/** The parts of one socket. */
interface SocketParts {
  readonly wire: SocketWire
  readonly session: SocketSession
  readonly operations: SocketOperations
  /** The Authorization header of the upgrade request. */
  readonly authorization: string | undefined
}

type Protocol = ReturnType<typeof createProtocol>
/** Handles a message, given as its text. */
type Handle = (text: string) => Promise<void>

/**
 * graphql-transport-ws by graphql-ws: the session authenticates, and SocketOperations decides what may run.
 */
export function createProtocol(log: Log) {
  const run = (args: ExecutionArgs) => toAccepted(args).run()
  return makeServer<Record<string, unknown>, SocketParts>({
    // The session has its own timer.
    connectionInitWaitTimeout: 0,
    onConnect({ connectionParams = {}, extra: { session, operations, authorization } }) {
      const { watchToken, traceparent } = connectionParams
      operations.traceparent = parseTraceparent(traceparent)
      return session.open({ authorization: toAuthorization(connectionParams) ?? authorization, watchToken })
    },
    async onPing({ extra: { wire, session } }, payload) {
      const authorization = toAuthorization(payload ?? {})
      // One verification at a time, so that a client cannot start many at once.
      if (authorization !== undefined) await wire.hold(session.extend(authorization))
    },
    onSubscribe: ({ extra: { operations, session } }, id) => operations.accept(id, session.caller),
    execute: run,
    subscribe: run,
    onNext: (_context, _id, _payload, args, result) =>
      maskResult(result, toAccepted(args).contextValue.correlationId, log),
    onError: ({ extra: { operations } }, id, _payload, errors) => operations.formatErrors(id, errors),
  })
}

function toAccepted(args: ExecutionArgs): AcceptedOperation {
  if (!(args instanceof AcceptedOperation))
    throw new Error('SocketOperations has not accepted this operation')
  return args
}

/**
 * A token in a payload, under either spelling of the header's name; routers without a token send an empty
 * one.
 */
function toAuthorization({ Authorization, authorization }: Record<string, unknown>): unknown {
  return [Authorization, authorization].find((value) => value != null && value !== '')
}

/**
 * One socket, as graphql-ws sees it. A class, because every socket keeps one. graphql-ws gets a message only
 * if the socket is open and graphql-ws can handle the message.
 */
export class SocketConnection implements SocketParts {
  readonly protocol: string
  readonly wire: SocketWire
  readonly session: SocketSession
  readonly operations: SocketOperations
  readonly authorization: string | undefined
  readonly #end: () => Promise<void>
  #handle: Handle = () => Promise.resolve()

  constructor(
    protocol: Protocol,
    socket: Pick<WebSocket, 'protocol'>,
    { wire, session, operations, authorization }: SocketParts,
  ) {
    this.protocol = socket.protocol
    this.wire = wire
    this.session = session
    this.operations = operations
    this.authorization = authorization
    this.#end = protocol.opened(this, this)
  }

  /** Called by graphql-ws. */
  send(text: string): void {
    this.wire.send(text)
  }

  /** Called by graphql-ws. */
  close(code: number = CloseCode.InternalServerError, reason = ''): void {
    this.wire.close(code, reason)
  }

  /** Called by graphql-ws: registers its handler of messages. */
  onMessage(handle: Handle): void {
    this.#handle = handle
  }

  /** Handles a message of the client. */
  receive(text: string): void {
    this.session.touch()
    // graphql-ws handles messages after a close frame, too.
    if (!this.wire.isOpen) return
    const message = parse(text)
    if (message === undefined) this.wire.close(CloseCode.BadRequest, 'Invalid message received')
    else this.operations.pass(message, text, this.#handle)
  }

  /** Call it when the socket has closed. */
  end(): void {
    this.session[Symbol.dispose]()
    this.#end().catch((error: unknown) => this.operations.fail(error))
  }
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
