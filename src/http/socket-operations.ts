import { randomUUID } from 'node:crypto'
import {
  execute,
  GraphQLError,
  OperationTypeNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLSchema,
} from 'graphql'
import { CloseCode, type SubscribePayload } from 'graphql-ws'
import type { Caller, CreateContext, OperationContext } from '../graphql/context.ts'
import { requestError, toPublicError } from '../graphql/errors.ts'
import { runLive, type Live, type LiveArgs } from '../graphql/live.ts'
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

interface Operation {
  readonly id: string
  readonly type: OperationTypeNode
  /** False once the client has completed it: nothing more is sent about it. */
  wanted: boolean
  live?: Live
}

const GOING_AWAY = requestError('SERVICE_UNAVAILABLE', 'This replica is stopping: ask another.', {
  retryable: true,
})
const TOO_MANY = requestError('TOO_MANY_OPERATIONS', 'Too many operations run on this socket.')

/** The operations of one socket. One counts until it has really ended, also after the client has completed it. */
export class SocketOperations implements Disposable {
  readonly #wire: SocketWire
  readonly #options: OperationOptions
  readonly #running = new Set<Operation>()
  /** Those that the client has not completed, by id. */
  readonly #wanted = new Map<string, Operation>()
  #onQuiet: (() => void) | undefined

  constructor(wire: SocketWire, options: OperationOptions) {
    this.#wire = wire
    this.#options = options
  }

  /** How many run. */
  get size(): number {
    return this.#running.size
  }

  /** Starts an operation. All that is wrong with it is sent as its errors; an id that is in use closes the socket. */
  start(id: string, payload: SubscribePayload, caller: Caller): void {
    if (this.#wanted.has(id)) {
      this.#wire.close(CloseCode.SubscriberAlreadyExists, `Subscriber for ${id} already exists`)
      return
    }
    const { prepare, socketOperationLimit } = this.#options
    if (socketOperationLimit !== null && this.size >= socketOperationLimit) {
      this.#sendErrors(id, [TOO_MANY])
      return
    }
    const document = prepare.document(payload.query)
    if (!document.ok) {
      this.#sendErrors(id, document.errors)
      return
    }
    const { operationName = null, variables = null } = payload
    const prepared = prepare.operation(document.value, operationName, variables, caller)
    if (!prepared.ok) {
      this.#sendErrors(id, prepared.errors)
      return
    }
    const type = prepared.value.operation
    // Do not start paid work while draining.
    if (type === OperationTypeNode.MUTATION && this.#options.isDraining()) {
      this.#sendErrors(id, [GOING_AWAY])
      return
    }
    void this.#run({ id, type, wanted: true }, { document: document.value, operationName, variables, caller })
  }

  /** The client wants to hear no more of this operation. */
  complete(id: string): void {
    const operation = this.#wanted.get(id)
    if (operation !== undefined) this.#stop(operation)
  }

  /** Resolves when no mutation runs. */
  async quiet(): Promise<void> {
    if (this.#isQuiet()) return
    await new Promise<void>((resolve) => (this.#onQuiet = resolve))
  }

  /** Ends every subscription. Queries and mutations run to their end, unheard. */
  [Symbol.dispose](): void {
    for (const operation of this.#running) this.#stop(operation)
  }

  #isQuiet(): boolean {
    return [...this.#running].every(({ type }) => type !== OperationTypeNode.MUTATION)
  }

  #stop(operation: Operation): void {
    this.#forget(operation)
    operation.live?.stop().catch((error: unknown) => {
      this.#options.log.error({ err: error }, 'a subscription failed to stop')
    })
  }

  #forget(operation: Operation): void {
    if (operation.wanted) this.#wanted.delete(operation.id)
    operation.wanted = false
  }

  async #run(operation: Operation, request: OperationRequest): Promise<void> {
    const { id } = operation
    this.#running.add(operation)
    this.#wanted.set(id, operation)
    const { schema, createContext } = this.#options
    const contextValue = createContext(request.caller)
    const { document, operationName, variables } = request
    const args = { schema, document, contextValue, operationName, variableValues: variables }
    try {
      if (operation.type === OperationTypeNode.SUBSCRIPTION) await this.#follow(operation, args)
      else this.#sendResult(operation, await execute(args), contextValue)
      if (!operation.wanted) return
      this.#forget(operation)
      this.#wire.send(`{"id":${JSON.stringify(id)},"type":"complete"}`)
    } catch (error) {
      const wanted = operation.wanted
      this.#forget(operation)
      if (wanted) this.#sendErrors(id, [toGraphQLError(error)], contextValue.correlationId)
    } finally {
      this.#running.delete(operation)
      if (this.#onQuiet !== undefined && this.#isQuiet()) this.#onQuiet()
    }
  }

  async #follow(operation: Operation, args: ExecutionArgs & { contextValue: OperationContext }) {
    const prefix = `{"id":${JSON.stringify(operation.id)},"type":"next","payload":`
    const send: LiveArgs['send'] = (result) =>
      operation.wanted ? this.#wire.sendEvent(prefix, result, '}') : undefined
    const live = await runLive({ ...args, send }, this.#options.log)
    if (!('run' in live)) this.#sendResult(operation, live, args.contextValue)
    else if (operation.wanted) await (operation.live = live).run()
    else await live.stop()
  }

  #sendResult(
    { id, wanted }: Operation,
    { errors, data }: ExecutionResult,
    { correlationId }: OperationContext,
  ) {
    if (!wanted) return
    const formatted = errors?.map((error) => toPublicError(error, correlationId, this.#options.log))
    const payload = { ...(formatted && { errors: formatted }), ...(data !== undefined && { data }) }
    this.#wire.send(JSON.stringify({ id, type: 'next', payload }))
  }

  #sendErrors(id: string, errors: readonly GraphQLError[], correlationId: string = randomUUID()): void {
    const payload = errors.map((error) => toPublicError(error, correlationId, this.#options.log))
    this.#wire.send(JSON.stringify({ id, type: 'error', payload }))
  }
}

interface OperationRequest extends Pick<ExecutionArgs, 'document'> {
  readonly operationName: string | null
  readonly variables: Record<string, unknown> | null
  readonly caller: Caller
}

function toGraphQLError(error: unknown): GraphQLError {
  if (error instanceof GraphQLError) return error
  const originalError = error instanceof Error ? error : new Error(String(error))
  return new GraphQLError(originalError.message, { originalError })
}
