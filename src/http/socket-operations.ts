import { randomUUID } from 'node:crypto'
import {
  execute,
  OperationTypeNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLError,
  type GraphQLFormattedError,
  type GraphQLSchema,
} from 'graphql'
import { MessageType, type Message, type SubscribePayload } from 'graphql-ws'
import type { Caller, CreateContext, OperationContext } from '../graphql/context.ts'
import { maskError, requestError, toPublicError } from '../graphql/errors.ts'
import { runLive, type Live, type LiveArgs } from '../fast/live.ts'
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
  isDraining(): boolean
}

/** An operation that may run: what graphql-ws is to execute or subscribe to. */
export interface AcceptedArgs extends ExecutionArgs {
  /** Executes or subscribes. Does not reject. */
  run(): Promise<ExecutionResult | Live>
}

interface Operation {
  /** True once the client has completed it. */
  isCompleted: boolean
  /** These two are set when it is accepted. */
  type?: OperationTypeNode
  context?: OperationContext
}

const GOING_AWAY = requestError('SERVICE_UNAVAILABLE', 'This replica is stopping: ask another.', {
  retryable: true,
})
const TOO_MANY = requestError('TOO_MANY_OPERATIONS', 'Too many operations run on this socket.')
const ID_IN_USE = requestError(
  'BAD_REQUEST',
  'The completed operation with this id has not ended yet. Use a new id for each operation.',
)

/**
 * The operations of one socket. Each counts, and keeps its id, until it has ended and graphql-ws has finished with it, also
 * after the client has completed it: graphql-ws would confuse two operations with one id.
 */
export class SocketOperations {
  readonly #wire: SocketWire
  readonly #options: OperationOptions
  /** By id: accepted or not. */
  readonly #unfinished = new Map<string, Operation>()
  readonly #accepted = new Set<Operation>()
  #onQuiet: (() => void) | undefined

  constructor(wire: SocketWire, options: OperationOptions) {
    this.#wire = wire
    this.#options = options
  }

  /** The number of running operations. */
  get size(): number {
    return this.#accepted.size
  }

  /** Passes a message to graphql-ws; refuses a `subscribe` whose id belongs to a completed operation that still runs. */
  pass(message: Message, handle: () => Promise<void>): Promise<void> {
    if (message.type === MessageType.Subscribe) return this.#passSubscribe(message.id, handle)
    const operation = message.type === MessageType.Complete ? this.#unfinished.get(message.id) : undefined
    if (operation !== undefined) operation.isCompleted = true
    return handle()
  }

  /** Accepts an operation, or returns the errors that refuse it. */
  accept(id: string, payload: SubscribePayload, caller: Caller): AcceptedArgs | readonly GraphQLError[] {
    const { schema, prepare, createContext, socketOperationLimit, isDraining } = this.#options
    if (socketOperationLimit !== null && this.size >= socketOperationLimit) return [TOO_MANY]
    const document = prepare.document(payload.query)
    if (!document.ok) return document.errors
    const { operationName = null, variables = null } = payload
    const prepared = prepare.operation(document.value, operationName, variables, caller)
    if (!prepared.ok) return prepared.errors
    const type = prepared.value.operation
    // Do not start paid work while draining.
    if (type === OperationTypeNode.MUTATION && isDraining()) return [GOING_AWAY]
    const contextValue = createContext(caller)
    const operation = this.#unfinished.get(id)
    if (operation !== undefined) this.#accepted.add(Object.assign(operation, { type, context: contextValue }))
    const prefix = `{"id":${JSON.stringify(id)},"type":"next","payload":`
    const args = {
      schema,
      document: document.value,
      contextValue,
      operationName,
      variableValues: variables,
      send: (result: string) => this.#wire.sendEvent(prefix, result, '}'),
    }
    return { ...args, run: () => this.#run(type, args) }
  }

  formatErrors(id: string, errors: readonly GraphQLError[]): GraphQLFormattedError[] {
    const correlationId = this.#unfinished.get(id)?.context?.correlationId ?? randomUUID()
    return errors.map((error) => toPublicError(error, correlationId, this.#options.log))
  }

  /** Resolves when no mutation runs. */
  async quiet(): Promise<void> {
    if (this.#isQuiet()) return
    await new Promise<void>((resolve) => (this.#onQuiet = resolve))
  }

  #isQuiet(): boolean {
    return [...this.#accepted].every(({ type }) => type !== OperationTypeNode.MUTATION)
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
      this.#accepted.delete(operation)
      if (this.#onQuiet !== undefined && this.#isQuiet()) this.#onQuiet()
    }
  }

  async #run(type: OperationTypeNode, args: LiveArgs): Promise<ExecutionResult | Live> {
    // A message in the same packet may have closed the socket since the operation was accepted.
    if (!this.#wire.isOpen) return {}
    try {
      return type === OperationTypeNode.SUBSCRIPTION
        ? await runLive(args, this.#options.log)
        : await execute(args)
    } catch (error) {
      return { errors: [maskError(error, args.contextValue.correlationId, this.#options.log)] }
    }
  }
}
