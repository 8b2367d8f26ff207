import type { ExecutionArgs, ExecutionResult, GraphQLSchema } from 'graphql'
import type { Caller, OperationContext } from '../graphql/context.ts'
import { maskResult } from '../graphql/mask-result.ts'
import type { Log } from '../tasks/ports.ts'
import { CompiledQueries } from './compiled-queries.ts'

/** An operation of one subscriber. */
export interface Operation extends ExecutionArgs {
  readonly contextValue: OperationContext
}

/** The serialized execution result of an operation; null: it has errors and is not shared. */
interface Shared {
  readonly operation: Operation
  readonly json: string | null | Promise<string | null>
}

const IRRELEVANT = Symbol('does not affect the execution result')

/**
 * For each field of a caller: how it affects the execution result of an event. A new field needs an entry
 * here.
 */
export type CallerView<C> = {
  readonly [Field in keyof C]-?: ((caller: C) => string | number | boolean | null) | typeof IRRELEVANT
}

export const CALLER_VIEW: CallerView<Caller> = {
  owner: ({ owner }) => owner,
  operator: ({ operator }) => operator,
  // The stream counts and ends subscriptions.
  stream: IRRELEVANT,
}

const VIEWS = Object.values(CALLER_VIEW).filter((view) => view !== IRRELEVANT)

/** How many different operations can share the execution result of one event. */
const MAX_SHARED = 8

/**
 * Executes the events of subscriptions with compiled queries, and the latest event once for all operations
 * with the same document, variables and view of the caller. A result with errors is not shared, because
 * errors contain the operation's correlation id.
 */
export class SharedResults {
  readonly #log: Log
  readonly #queries: CompiledQueries
  #event: unknown
  #shared: Shared[] = []

  constructor(schema: GraphQLSchema, log: Log) {
    this.#log = log
    this.#queries = new CompiledQueries(schema, log)
  }

  /** Loads graphql-jit; until then, graphql-js executes. */
  load(): Promise<void> {
    return this.#queries.load()
  }

  /** The execution result of an event, as JSON. */
  toJson(event: unknown, operation: Operation): string | Promise<string> {
    if (typeof event !== 'object') return this.#execute(event, operation, null)
    if (this.#event !== event) {
      this.#event = event
      this.#shared = []
    }
    const shared = this.#shared.find((each) => canShare(each.operation, operation))
    if (shared === undefined)
      return this.#execute(event, operation, this.#shared.length < MAX_SHARED ? this.#shared : null)
    const { json } = shared
    const orExecute = (text: string | null) => text ?? this.#execute(event, operation, null)
    return json instanceof Promise ? json.then(orExecute) : orExecute(json)
  }

  #execute(event: unknown, operation: Operation, shared: Shared[] | null): string | Promise<string> {
    const result = this.#queries.execute(event, operation)
    const toJson = (found: ExecutionResult) =>
      JSON.stringify(maskResult(found, operation.contextValue.correlationId, this.#log))
    if (!(result instanceof Promise)) {
      const json = toJson(result)
      shared?.push({ operation, json: result.errors ? null : json })
      return json
    }
    const json = result.then(toJson)
    const sharedJson = result.then(
      ({ errors }) => (errors ? null : json),
      () => null,
    )
    shared?.push({ operation, json: sharedJson })
    return json
  }
}

function canShare(one: Operation, other: Operation): boolean {
  return (
    one.document === other.document &&
    one.operationName === other.operationName &&
    VIEWS.every((view) => view(one.contextValue) === view(other.contextValue)) &&
    isSameRecord(one.variableValues ?? {}, other.variableValues ?? {})
  )
}

/** Nested values are compared by identity. */
function isSameRecord(
  one: Readonly<Record<string, unknown>>,
  other: Readonly<Record<string, unknown>>,
): boolean {
  const names = Object.keys(one)
  return (
    names.length === Object.keys(other).length &&
    names.every((name) => Object.hasOwn(other, name) && Object.is(one[name], other[name]))
  )
}
