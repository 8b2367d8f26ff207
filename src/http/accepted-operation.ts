import {
  createSourceEventStream,
  execute,
  OperationTypeNode,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLSchema,
} from 'graphql'
import { CloseCode, type SubscribePayload } from 'graphql-ws'
import type { OperationContext } from '../graphql/context.ts'
import { maskError, type RequestErrorCode } from '../graphql/errors.ts'
import { maskResult } from '../graphql/mask-result.ts'
import type { Log } from '../tasks/ports.ts'
import type { RunningOperation } from './operation-records.ts'
import { GOING_AWAY, type SocketWire } from './socket-wire.ts'

/** What operations are run with. */
export interface ExecutionOptions {
  readonly schema: GraphQLSchema
  readonly log: Log
  /** The fast path, for events of subscriptions; absent: graphql-js executes them. */
  readonly fast?: FastPath | undefined
}

/** An optional replacement for graphql-js and `ws` on the hot path; it changes no result. */
interface FastPath {
  /**
   * Loads the query compiler that `executeEvent` uses. Called when a socket opens, because a service without
   * sockets does not need it.
   */
  load(): Promise<void>
  /** Executes an operation with an event as the root value: the execution result, as JSON. */
  executeEvent(event: unknown, operation: AcceptedOperation): string | Promise<string>
  /** The WebSocket frame of a text message. */
  toTextFrame(text: string): Buffer
}

/** The outcome of an operation whose connection was closed before it began. */
const CONNECTION_CLOSED = 'CONNECTION_CLOSED'
/** The outcome of a stream whose socket this side has closed with one of these codes. */
const CLOSE_REASONS: Partial<Record<number, RequestErrorCode>> = {
  [GOING_AWAY]: 'SERVICE_UNAVAILABLE',
  [CloseCode.Forbidden]: 'UNAUTHENTICATED',
}

interface Parts {
  readonly type: OperationTypeNode
  readonly document: DocumentNode
  readonly context: OperationContext
  readonly record: RunningOperation
}

/** An operation that graphql-ws will run. */
export class AcceptedOperation implements ExecutionArgs {
  readonly type: OperationTypeNode
  readonly document: DocumentNode
  readonly operationName: string | null
  readonly variableValues: Readonly<Record<string, unknown>> | null
  readonly contextValue: OperationContext
  readonly rootValue = undefined
  readonly #id: string
  readonly #record: RunningOperation
  readonly #wire: SocketWire
  readonly #options: ExecutionOptions

  constructor(
    id: string,
    { type, document, context, record }: Parts,
    { operationName = null, variables = null }: SubscribePayload,
    { wire, options }: { wire: SocketWire; options: ExecutionOptions },
  ) {
    this.type = type
    this.document = document
    this.operationName = operationName
    this.variableValues = variables
    this.contextValue = context
    this.#id = id
    this.#record = record
    this.#wire = wire
    this.#options = options
  }

  get schema(): GraphQLSchema {
    return this.#options.schema
  }

  /**
   * Runs the operation. The iterator of a subscription sends the results itself and yields nothing. Does not
   * reject.
   */
  async run(): Promise<AsyncIterableIterator<never> | ExecutionResult> {
    // A message in the same packet may have closed the socket since the operation was accepted.
    if (!this.#wire.isOpen) {
      this.#record.note(CONNECTION_CLOSED)
      this.#record.end()
      return {}
    }
    const isSubscription = this.type === OperationTypeNode.SUBSCRIPTION
    const begun = await this.#record.within(() => (isSubscription ? this.#subscribe() : this.#execute()))
    if (begun instanceof SentResults) return begun
    this.#record.end()
    return begun
  }

  async #execute(): Promise<ExecutionResult> {
    try {
      const result = await execute(this)
      this.#record.noteErrors(result)
      return result
    } catch (error) {
      return this.#mask(error)
    }
  }

  async #subscribe(): Promise<SentResults | ExecutionResult> {
    try {
      const events = await createSourceEventStream(this)
      if (Symbol.asyncIterator in events) return new SentResults(events[Symbol.asyncIterator](), this)
      this.#record.noteErrors(events)
      return events
    } catch (error) {
      return this.#mask(error)
    }
  }

  #mask(error: unknown): ExecutionResult {
    const result = { errors: [maskError(error, this.contextValue.correlationId, this.#options.log)] }
    this.#record.noteErrors(result)
    return result
  }

  /** Called when the stream has failed. */
  noteError(error: unknown): void {
    this.#record.noteError(error)
  }

  /** Called when the stream has ended. */
  async endStream(): Promise<void> {
    const code = CLOSE_REASONS[this.#wire.closedWith ?? 0]
    if (code !== undefined) this.#record.note(code)
    await this.#record.endStream()
  }

  /**
   * Executes an event of a subscription and sends the result. Backpressure: resolves once the result has
   * left.
   */
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
 * Sends the results of a subscription once graphql-ws requests the first one. A class, because each idle
 * subscription keeps an instance.
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
      // No variable for the event: it would keep the task in memory while this waits for the next one.
      while (await this.#send(await this.#events.next()));
    } catch (error) {
      this.#operation.noteError(error)
      throw error
    } finally {
      await this.#events.return?.()
      await this.#operation.endStream()
    }
    return { done: true, value: undefined }
  }

  /** Sends an event; false: the stream has ended. */
  async #send({ done, value }: IteratorResult<unknown>): Promise<boolean> {
    if (done === true) return false
    await this.#operation.sendResult(value)
    return true
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.#events.return?.()
    await this.#operation.endStream()
    return { done: true, value: undefined }
  }
}

async function executePlainly(rootValue: unknown, operation: AcceptedOperation): Promise<string> {
  const { schema, document, operationName, variableValues, contextValue, log } = operation
  const args = { schema, document, operationName, variableValues, contextValue, rootValue }
  return JSON.stringify(maskResult(await execute(args), contextValue.correlationId, log))
}
