import { randomUUID } from 'node:crypto'
import { OperationTypeNode, type GraphQLError, type GraphQLFormattedError } from 'graphql'
import {
  CloseCode,
  MessageType,
  type Message,
  type SubscribeMessage,
  type SubscribePayload,
} from 'graphql-ws'
import type { Caller, CreateContext } from '../graphql/context.ts'
import { requestError, toPublicError } from '../graphql/errors.ts'
import type { Prepare } from '../graphql/prepare.ts'
import { parseTraceparent } from '../tasks/tracing.ts'
import { AcceptedOperation, type ExecutionOptions } from './accepted-operation.ts'
import type { HttpObserver } from './http-observer.ts'
import type { OperationRecords, RunningOperation } from './operation-records.ts'
import type { SocketWire } from './socket-wire.ts'

export interface OperationOptions extends ExecutionOptions {
  readonly prepare: Prepare
  readonly createContext: CreateContext
  readonly records: OperationRecords
  /** Operations that may run on one socket at once; null: any number. */
  readonly socketOperationLimit: number | null
  readonly observer: HttpObserver
  isDraining(): boolean
}

const GOING_AWAY = requestError('SERVICE_UNAVAILABLE', 'This replica is stopping: retry on another.', {
  retryable: true,
})
const TOO_MANY = requestError('TOO_MANY_OPERATIONS', 'Too many operations run on this socket.')
const ID_IN_USE = requestError(
  'BAD_REQUEST',
  'The completed operation with this id has not ended yet. Use a new id for each operation.',
)

/** An operation until graphql-ws has finished with it. */
interface Operation {
  /** True once the client has completed it. */
  isCompleted: boolean
  /** The request, until the operation is accepted or refused. */
  payload: SubscribePayload | undefined
  record: RunningOperation | undefined
  accepted: AcceptedOperation | undefined
}

/**
 * The operations of one socket. Each operation counts, and keeps its id, until it has ended and graphql-ws
 * has finished with it, even if the client has completed it: graphql-ws would confuse two operations with one
 * id.
 */
export class SocketOperations {
  /** The trace of the socket, for operations without one in their `extensions`; null: none. */
  traceparent: string | null = null
  readonly #wire: SocketWire
  readonly #options: OperationOptions
  /** By id: accepted or not. */
  readonly #unfinished = new Map<string, Operation>()
  #size = 0
  #onQuiet: (() => void) | undefined

  constructor(wire: SocketWire, options: OperationOptions) {
    this.#wire = wire
    this.#options = options
  }

  /** The number of running operations. */
  get size(): number {
    return this.#size
  }

  /**
   * Passes a message to graphql-ws; refuses a `subscribe` whose id belongs to a completed operation that
   * still runs.
   */
  pass(message: Message, text: string, handle: (text: string) => Promise<void>): void {
    if (message.type === MessageType.Subscribe && this.#passSubscribe(message, handle)) return
    const operation = message.type === MessageType.Complete ? this.#unfinished.get(message.id) : undefined
    if (operation !== undefined) operation.isCompleted = true
    handle(text).catch((error: unknown) => this.fail(error))
  }

  /** Closes the socket after an unexpected error of graphql-ws. */
  fail(err: unknown): void {
    this.#options.log.error({ err }, 'a socket message failed unexpectedly')
    this.#wire.close(CloseCode.InternalServerError, 'Internal server error')
  }

  /** Accepts the operation that was passed with this id, or returns the errors that refuse it. */
  accept(id: string, caller: Caller): AcceptedOperation | readonly GraphQLError[] {
    const operation = this.#unfinished.get(id)
    if (operation?.payload === undefined) throw new Error('The operation was not passed to graphql-ws')
    const { payload } = operation
    operation.payload = undefined
    const record = this.#openRecord(caller.owner, payload)
    operation.record = record
    const accepted = this.#accept(id, payload, caller, record)
    if (accepted instanceof AcceptedOperation) {
      operation.accepted = accepted
      this.#size += 1
    } else record.refuse(accepted)
    return accepted
  }

  #openRecord(owner: string | null, { extensions }: Pick<SubscribePayload, 'extensions'>): RunningOperation {
    const traceparent = parseTraceparent(extensions?.traceparent) ?? this.traceparent
    return this.#options.records({
      transport: 'websocket',
      owner,
      correlationId: toOnePiece(randomUUID()),
      traceparent,
    })
  }

  #accept(
    id: string,
    payload: SubscribePayload,
    caller: Caller,
    record: RunningOperation,
  ): AcceptedOperation | readonly GraphQLError[] {
    const { prepare, createContext, socketOperationLimit, isDraining, observer } = this.#options
    if (socketOperationLimit !== null && this.size >= socketOperationLimit) {
      observer.onRefusal('socket_operations')
      return [TOO_MANY]
    }
    const document = prepare.document(payload.query)
    if (!document.ok) return document.errors
    const { operationName = null, variables = null } = payload
    const prepared = prepare.operation(document.value, operationName, variables, caller)
    if (!prepared.ok) return prepared.errors
    record.describe(prepared.value, operationName)
    const type = prepared.value.operation
    // Do not start paid work while draining.
    if (type === OperationTypeNode.MUTATION && isDraining()) return [GOING_AWAY]
    const context = createContext(caller, record.correlationId, record)
    const parts = { type, document: document.value, context, record }
    return new AcceptedOperation(id, parts, payload, { wire: this.#wire, options: this.#options })
  }

  formatErrors(id: string, errors: readonly GraphQLError[]): GraphQLFormattedError[] {
    return this.#format(errors, this.#unfinished.get(id)?.record?.correlationId ?? randomUUID())
  }

  #format(errors: readonly GraphQLError[], correlationId: string): GraphQLFormattedError[] {
    return errors.map((error) => toPublicError(error, correlationId, this.#options.log))
  }

  /** Resolves when no mutation runs. */
  async quiet(): Promise<void> {
    if (this.#isQuiet()) return
    await new Promise<void>((resolve) => (this.#onQuiet = resolve))
  }

  #isQuiet(): boolean {
    return [...this.#unfinished.values()].every(
      ({ accepted }) => accepted?.type !== OperationTypeNode.MUTATION,
    )
  }

  /** False: graphql-ws must get the message as it is. */
  #passSubscribe({ id, payload }: SubscribeMessage, handle: (text: string) => Promise<void>): boolean {
    const earlier = this.#unfinished.get(id)
    if (earlier !== undefined) {
      if (earlier.isCompleted) this.#refuseId(id, earlier)
      // graphql-ws closes the socket with 4409.
      return earlier.isCompleted
    }
    this.#unfinished.set(id, { isCompleted: false, payload, record: undefined, accepted: undefined })
    // Without its payload: graphql-ws keeps a message and its text as long as the operation runs.
    const stub: SubscribeMessage = { id, type: MessageType.Subscribe, payload: { query: '' } }
    handle(JSON.stringify(stub)).then(
      () => this.#forget(id),
      (error: unknown) => {
        this.#forget(id)
        this.fail(error)
      },
    )
    return true
  }

  #refuseId(id: string, earlier: Operation): void {
    const record = this.#openRecord(earlier.accepted?.contextValue.owner ?? null, {})
    record.refuse([ID_IN_USE])
    const payload = this.#format([ID_IN_USE], record.correlationId)
    this.#wire.send(JSON.stringify({ id, type: MessageType.Error, payload }))
  }

  #forget(id: string): void {
    if (this.#unfinished.get(id)?.accepted !== undefined) this.#size -= 1
    this.#unfinished.delete(id)
    if (this.#onQuiet !== undefined && this.#isQuiet()) this.#onQuiet()
  }
}

/**
 * A copy of a text of ASCII characters. `randomUUID` concatenates short pieces, which take eight times as
 * much memory while it is kept.
 */
function toOnePiece(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}
