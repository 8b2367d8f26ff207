import { randomUUID } from 'node:crypto'
import {
  createSourceEventStream,
  execute,
  OperationTypeNode,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLError,
  type GraphQLFormattedError,
  type GraphQLSchema,
} from 'graphql'
import { MessageType, type Message, type SubscribePayload } from 'graphql-ws'
import type { Caller, CreateContext, OperationContext } from '../graphql/context.ts'
import { maskError, requestError, toPublicError } from '../graphql/errors.ts'
import { maskResult } from '../graphql/mask-result.ts'
import type { Prepare } from '../graphql/prepare.ts'
import type { Log } from '../tasks/ports.ts'
import type { SocketWire } from './socket-wire.ts'

export interface OperationOptions {
  readonly schema: GraphQLSchema
  readonly prepare: Prepare
  readonly createContext: CreateContext
  readonly log: Log
  /** Operations that may run on one socket at once; null: any number. */
  readonly socketOperationLimit: number | null
  /** The fast path, for events of subscriptions; absent: graphql-js executes them. */
  readonly fast?: FastPath | undefined
  isDraining(): boolean
}

/** An optional replacement for graphql-js and `ws` on the hot path; it changes no result. */
interface FastPath {
  /** Executes an operation with an event as the root value: the execution result, as JSON. */
  executeEvent(event: unknown, operation: AcceptedOperation): string | Promise<string>
  /** The WebSocket frame of a text message. */
  toTextFrame(text: string): Buffer
}

const GOING_AWAY = requestError('SERVICE_UNAVAILABLE', 'This replica is stopping: retry on another.', {
  retryable: true,
})
const TOO_MANY = requestError('TOO_MANY_OPERATIONS', 'Too many operations run on this socket.')
const ID_IN_USE = requestError(
  'BAD_REQUEST',
  'The completed operation with this id has not ended yet. Use a new id for each operation.',
)

/** An operation that graphql-ws will run. */
export class AcceptedOperation implements ExecutionArgs {
  readonly type: OperationTypeNode
  readonly document: DocumentNode
  readonly operationName: string | null
  readonly variableValues: Readonly<Record<string, unknown>> | null
  readonly contextValue: OperationContext
  readonly rootValue = undefined
  readonly #id: string
  readonly #wire: SocketWire
  readonly #options: OperationOptions

  constructor(
    id: string,
    {
      type,
      document,
      context,
    }: { type: OperationTypeNode; document: DocumentNode; context: OperationContext },
    { operationName = null, variables = null }: SubscribePayload,
    { wire, options }: { wire: SocketWire; options: OperationOptions },
  ) {
    this.type = type
    this.document = document
    this.operationName = operationName
    this.variableValues = variables
    this.contextValue = context
    this.#id = id
    this.#wire = wire
    this.#options = options
  }

  get schema(): GraphQLSchema {
    return this.#options.schema
  }

  /** Runs the operation. The iterator of a subscription sends the results itself and yields nothing. Does not reject. */
  async run(): Promise<AsyncIterableIterator<never> | ExecutionResult> {
    // A message in the same packet may have closed the socket since the operation was accepted.
    if (!this.#wire.isOpen) return {}
    try {
      if (this.type !== OperationTypeNode.SUBSCRIPTION) return await execute(this)
      const events = await createSourceEventStream(this)
      return Symbol.asyncIterator in events ? new SentResults(events[Symbol.asyncIterator](), this) : events
    } catch (error) {
      return { errors: [maskError(error, this.contextValue.correlationId, this.#options.log)] }
    }
  }

  /** Executes an event of a subscription and sends the result. Backpressure: resolves once the result has left. */
  async sendResult(event: unknown): Promise<void> {
    const executeEvent = this.#options.fast?.executeEvent ?? executePlainly
    const json = executeEvent(event, this)
    const result = typeof json === 'string' ? json : await json
    await this.#wire.sendEvent(`{"id":${JSON.stringify(this.#id)},"type":"next","payload":${result}}`)
  }

  get log(): Log {
    return this.#options.log
  }
}

/**
 * Sends the results of a subscription once graphql-ws requests the first one. A class, because each idle subscription
 * keeps an instance.
 */
class SentResults implements AsyncIterableIterator<never> {
  readonly #events: AsyncIterator<unknown>
  readonly #operation: AcceptedOperation

  constructor(events: AsyncIterator<unknown>, operation: AcceptedOperation) {
    this.#events = events
    this.#operation = operation
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorReturnResult<undefined>> {
    try {
      for (let next = await this.#events.next(); !next.done; next = await this.#events.next())
        await this.#operation.sendResult(next.value)
    } finally {
      await this.#events.return?.()
    }
    return { done: true, value: undefined }
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.#events.return?.()
    return { done: true, value: undefined }
  }
}

async function executePlainly(rootValue: unknown, operation: AcceptedOperation): Promise<string> {
  const { schema, document, operationName, variableValues, contextValue, log } = operation
  const args = { schema, document, operationName, variableValues, contextValue, rootValue }
  return JSON.stringify(maskResult(await execute(args), contextValue.correlationId, log))
}

/** An operation until graphql-ws has finished with it. */
interface Operation {
  /** True once the client has completed it. */
  isCompleted: boolean
  accepted?: AcceptedOperation
}

/**
 * The operations of one socket. Each operation counts, and keeps its id, until it has ended and graphql-ws has finished
 * with it, even if the client has completed it: graphql-ws would confuse two operations with one id.
 */
export class SocketOperations {
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

  /** Passes a message to graphql-ws; refuses a `subscribe` whose id belongs to a completed operation that still runs. */
  pass(message: Message, handle: () => Promise<void>): Promise<void> {
    if (message.type === MessageType.Subscribe) return this.#passSubscribe(message.id, handle)
    const operation = message.type === MessageType.Complete ? this.#unfinished.get(message.id) : undefined
    if (operation !== undefined) operation.isCompleted = true
    return handle()
  }

  /** Accepts an operation, or returns the errors that refuse it. */
  accept(id: string, payload: SubscribePayload, caller: Caller): AcceptedOperation | readonly GraphQLError[] {
    const { prepare, createContext, socketOperationLimit, isDraining } = this.#options
    if (socketOperationLimit !== null && this.size >= socketOperationLimit) return [TOO_MANY]
    const document = prepare.document(payload.query)
    if (!document.ok) return document.errors
    const { operationName = null, variables = null } = payload
    const prepared = prepare.operation(document.value, operationName, variables, caller)
    if (!prepared.ok) return prepared.errors
    const type = prepared.value.operation
    // Do not start paid work while draining.
    if (type === OperationTypeNode.MUTATION && isDraining()) return [GOING_AWAY]
    const parts = { type, document: document.value, context: createContext(caller) }
    const accepted = new AcceptedOperation(id, parts, payload, { wire: this.#wire, options: this.#options })
    const operation = this.#unfinished.get(id)
    if (operation !== undefined) {
      operation.accepted = accepted
      this.#size += 1
    }
    return accepted
  }

  formatErrors(id: string, errors: readonly GraphQLError[]): GraphQLFormattedError[] {
    const correlationId = this.#unfinished.get(id)?.accepted?.contextValue.correlationId ?? randomUUID()
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

  async #passSubscribe(id: string, handle: () => Promise<void>): Promise<void> {
    const earlier = this.#unfinished.get(id)
    if (earlier?.isCompleted) {
      const payload = this.formatErrors(id, [ID_IN_USE])
      this.#wire.send(JSON.stringify({ id, type: MessageType.Error, payload }))
      return
    }
    // graphql-ws closes the socket with 4409.
    if (earlier !== undefined) return handle()
    const operation: Operation = { isCompleted: false }
    this.#unfinished.set(id, operation)
    try {
      await handle()
    } finally {
      this.#unfinished.delete(id)
      if (operation.accepted !== undefined) this.#size -= 1
      if (this.#onQuiet !== undefined && this.#isQuiet()) this.#onQuiet()
    }
  }
}
