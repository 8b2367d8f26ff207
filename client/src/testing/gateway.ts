import { FollowError } from '../errors.ts'
import type { GraphqlRequest, Transport } from '../transport.ts'
import { ScriptClock } from './clock.ts'
import { readArgs } from './document.ts'
import { EventQueue } from './event-queue.ts'
import { RequestError, toGraphqlError, type GraphqlResult } from './execute.ts'
import type { FailOptions } from './fail-options.ts'
import { toFailureError, type Failure } from './failures.ts'
import { parseSubmit } from './inputs.ts'
import { execute, isFieldError, prepare, unknownField, type Prepared } from './operation.ts'
import { Random } from './random.ts'
import { SUBSCRIPTIONS, TaskStream } from './streams.ts'
import { isSettled } from './task.ts'
import { ScriptedTasks } from './tasks.ts'

export interface ScriptedGatewayOptions {
  /** How long an upscale takes, unless its source task id states a time. Default: 2,000. */
  readonly completeAfterMs?: number
  /** The time from an operation to its answer. Default: 0. */
  readonly latencyMs?: number
  /** How long a submit waits for a lost answer (`sandbox-hang`). Default: 30,000. */
  readonly submitTimeoutMs?: number
  /** How long after the submit the gateway polls a result (`sandbox-lost`). Default: 30,000. */
  readonly pollIntervalMs?: number
  /** How long a task may take (`sandbox-html`). Default: 30 minutes. */
  readonly deadlineMs?: number
  /**
   * `manual`: only `advance` and `settleAll` move the time. Default: `real`, which also follows the timers of
   * the platform.
   */
  readonly clock?: 'real' | 'manual'
  /** The time at which the clock starts. Default: now. */
  readonly startAt?: Date
  /** With the same seed, the same operations create the same ids. Default: a random one. */
  readonly seed?: string
}

/** An operation that the gateway has received. */
export interface ScriptedRequest {
  readonly query: string
  readonly variables: Readonly<Record<string, unknown>>
  readonly operationName: string | null
  /** The first field of the operation, such as `upscaleImage`; null: the document is invalid. */
  readonly field: string | null
}

interface Sink<Result> {
  next(value: Result): void
  error(error: unknown): void
  complete(): void
}

/** A gateway in memory, with the scripts of the sandbox. A graphql-ws client can be replaced by it. */
export interface ScriptedGateway extends Transport {
  /** As that of a graphql-ws client, for the links and exchanges of GraphQL clients. */
  subscribe(request: GraphqlRequest, sink: Sink<never>): () => void
  /** What was sent to it, oldest first. */
  readonly requests: readonly ScriptedRequest[]
  /**
   * Submits a task without an operation, for a component that follows an existing one. Returns the id of the
   * task.
   */
  addTask(input: { readonly taskId: string; readonly imageIndex?: number; readonly queue?: boolean }): string
  /** Moves the clock, and runs what is due, step by step. */
  advance(ms: number): Promise<void>
  /** Moves the clock until all tasks have settled. */
  settleAll(): Promise<void>
  /**
   * Loses the connection: all streams, and the operations without an answer, end with CONNECTION_FAILED.
   * Operations that begin in the next `forMs` milliseconds wait until then.
   */
  disconnect(forMs?: number): void
  /**
   * Makes the next operation fail with this code. A submit that fails with a code of the error catalogue is
   * refused with a `problem`; everything else is a GraphQL error.
   */
  fail(code: string, options?: FailOptions): void
  /** Forgets all tasks, requests and failures, and ends all streams. With a `seed`, ids repeat. */
  reset(): void
}

/**
 * Creates a gateway for unit tests and Storybook: same states, errors and rules as a gateway in sandbox mode.
 */
export function createScriptedGateway(options: ScriptedGatewayOptions = {}): ScriptedGateway {
  return new MemoryGateway(options)
}

interface Running {
  readonly events: EventQueue<GraphqlResult>
  readonly onOpen: (() => void) | undefined
}

class MemoryGateway implements ScriptedGateway {
  readonly #clock: ScriptClock
  readonly #random: Random
  readonly #tasks: ScriptedTasks
  readonly #latencyMs: number
  readonly #requests: ScriptedRequest[] = []
  readonly #running = new Set<EventQueue<GraphqlResult>>()
  readonly #streams = new Map<EventQueue<GraphqlResult>, TaskStream>()
  readonly #failures: Failure[] = []
  #onlineAt = 0

  constructor(options: ScriptedGatewayOptions) {
    const { clock = 'real', startAt, seed, latencyMs = 0 } = options
    this.#clock = new ScriptClock(clock === 'manual', startAt?.getTime() ?? Date.now())
    this.#random = new Random(seed ?? String(Math.random()))
    this.#latencyMs = latencyMs
    this.#tasks = new ScriptedTasks({
      clock: this.#clock,
      random: this.#random,
      timing: {
        completeAfterMs: options.completeAfterMs ?? 2_000,
        submitTimeoutMs: options.submitTimeoutMs ?? 30_000,
        pollIntervalMs: options.pollIntervalMs ?? 30_000,
        deadlineMs: options.deadlineMs ?? 1_800_000,
      },
      onChange: () => {
        for (const stream of this.#streams.values()) stream.refresh()
      },
    })
  }

  get requests(): readonly ScriptedRequest[] {
    return this.#requests
  }

  iterate(request: GraphqlRequest, onOpen?: () => void): AsyncIterableIterator<never> {
    return this.#start(request, onOpen) as AsyncIterableIterator<never>
  }

  subscribe(request: GraphqlRequest, sink: Sink<never>): () => void {
    const events = this.iterate(request)
    const read = async () => {
      try {
        for await (const event of events) sink.next(event)
        sink.complete()
      } catch (error) {
        sink.error(error)
      }
    }
    void read()
    return () => void events.return?.()
  }

  addTask({ taskId, imageIndex = 0, queue = false }: Parameters<ScriptedGateway['addTask']>[0]): string {
    const input = parseSubmit({ taskId, imageIndex, queue, force: true })
    void this.#tasks.submit(input, this.#random.uuid())
    return this.#tasks.list()[0]?.id ?? ''
  }

  advance(ms: number): Promise<void> {
    return this.#clock.advance(ms)
  }

  settleAll(): Promise<void> {
    return this.#clock.runUntil(() => this.#tasks.list().every(isSettled))
  }

  disconnect(forMs = 0): void {
    this.#onlineAt = this.#clock.now() + forMs
    const lost = () => new FollowError('CONNECTION_FAILED', 'The connection was lost.', { retryable: true })
    for (const events of this.#running) events.fail(lost())
  }

  fail(code: string, options: FailOptions = {}): void {
    this.#failures.push({ code, ...options })
  }

  reset(): void {
    for (const events of this.#running) events.end()
    this.#requests.length = 0
    this.#failures.length = 0
    this.#onlineAt = 0
    this.#tasks.reset()
    this.#clock.reset()
    this.#random.reset()
  }

  #start(request: GraphqlRequest, onOpen?: () => void): EventQueue<GraphqlResult> {
    const events = new EventQueue<GraphqlResult>(() => {
      this.#running.delete(events)
      this.#streams.delete(events)
    })
    this.#running.add(events)
    this.#run(request, { events, onOpen }).catch((error: unknown) => {
      events.fail(error instanceof RequestError ? [toGraphqlError(error, this.#random.uuid())] : error)
    })
    return events
  }

  async #run(request: GraphqlRequest, { events, onOpen }: Running): Promise<void> {
    await this.#clock.wait(this.#onlineAt - this.#clock.now())
    if (!this.#running.has(events)) return
    const { query, operationName = null } = request
    // A copy, because the variables of a stream may change later. JSON removes what is undefined.
    const variables = JSON.parse(JSON.stringify(request.variables ?? {})) as Record<string, unknown>
    const received = { query, variables, operationName }
    const index = this.#requests.push({ ...received, field: null }) - 1
    const prepared = prepare(query, variables, operationName)
    this.#requests[index] = { ...received, field: prepared.fields[0]?.name ?? null }
    const correlationId = this.#random.uuid()
    const failure = this.#takeFailure(prepared.fields[0]?.name ?? null)
    if (prepared.kind === 'subscription') {
      await this.#clock.wait(this.#latencyMs)
      if (!this.#running.has(events)) return
      onOpen?.()
      this.#open(prepared, events, { correlationId, failure })
      return
    }
    const result = await execute(prepared, { tasks: this.#tasks, correlationId, failure })
    await this.#clock.wait(this.#latencyMs)
    events.push(result)
    events.end()
  }

  #takeFailure(field: string | null): Failure | undefined {
    const index = this.#failures.findIndex((each) => (each.field ?? field) === field)
    return index < 0 ? undefined : this.#failures.splice(index, 1)[0]
  }

  #open(
    { document, fields, variables }: Prepared,
    events: EventQueue<GraphqlResult>,
    { correlationId, failure }: { readonly correlationId: string; readonly failure: Failure | undefined },
  ): void {
    const [field] = fields
    const toScope = field && SUBSCRIPTIONS[field.name]
    if (field === undefined || toScope === undefined) throw unknownField(field?.name ?? '', 'Subscription')
    try {
      if (failure) throw toFailureError(failure)
      const scope = toScope(readArgs(field.args, variables))
      const stream = new TaskStream(this.#tasks, events, { document, variables, field, scope, correlationId })
      this.#streams.set(events, stream)
      stream.refresh()
    } catch (error) {
      if (!isFieldError(error)) throw error
      events.push({ errors: [toGraphqlError(error, correlationId)] })
      events.end()
    }
  }
}
