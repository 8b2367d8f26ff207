import {
  createSourceEventStream,
  execute,
  Kind,
  visit,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
} from 'graphql'
import { compileQuery, isCompiledQuery } from 'graphql-jit'
import type { OperationContext } from '../graphql/context.ts'
import { toPublicError } from '../graphql/errors.ts'
import type { Log } from '../tasks/ports.ts'
import type { Watch, WatchEvent } from '../tasks/watch.ts'

/** A subscription: what graphql-js is given, and where what an event looks like goes, as JSON. */
export interface LiveArgs extends ExecutionArgs {
  readonly contextValue: OperationContext
  /** A promise is waited for before the next event is asked for. */
  send(result: string): Promise<void> | undefined
}

/** What an event looks like to one operation, and to every other that asks the same; null: not to be shared. */
interface Told {
  readonly to: LiveArgs
  readonly text: string | null | Promise<string | null>
}

/** How many different operations can share the execution result of one event. */
const MAX_TOLD = 8

/** The last event and its execution results: the subscribers of one task get it one after the other. */
let latest: { readonly event: object | null; readonly told: Told[] } = { event: null, told: [] }

/**
 * Starts a subscription for a transport that sends JSON: an iterator that sends each event itself, yields nothing, and is
 * done when the stream has ended. Subscribers with the same selection and rights share the execution result of an event,
 * serialized once. A result with errors is not shared, because errors contain the operation's correlation id.
 *
 * Resolves to an execution result if the subscription cannot begin.
 */
export async function runLive(args: LiveArgs, log: Log): Promise<Live | ExecutionResult> {
  const stream = await createSourceEventStream(args)
  return Symbol.asyncIterator in stream ? new Live(stream as Watch, args, log) : stream
}

export class Live implements AsyncIterableIterator<never, undefined> {
  readonly #watch: Watch
  readonly #args: LiveArgs
  readonly #log: Log

  constructor(watch: Watch, args: LiveArgs, log: Log) {
    this.#watch = watch
    this.#args = args
    this.#log = log
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Sends every event; resolves at the end of the stream. */
  async next(): Promise<IteratorReturnResult<undefined>> {
    await this.#watch.giveTo((event) => {
      const text = this.#tell(event)
      return typeof text === 'string' ? this.#args.send(text) : text.then(this.#args.send)
    })
    return { done: true, value: undefined }
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.#watch.return?.()
    return { done: true, value: undefined }
  }

  #tell(event: WatchEvent): string | Promise<string> {
    if (typeof event === 'string') return this.#execute(event)
    if (latest.event !== event) latest = { event, told: [] }
    const { told } = latest
    const same = told.find(({ to }) => asksTheSame(to, this.#args))
    if (same === undefined) return this.#execute(event, told.length < MAX_TOLD ? told : undefined)
    const { text } = same
    if (typeof text === 'string') return text
    return text === null ? this.#execute(event) : text.then((shared) => shared ?? this.#execute(event))
  }

  #execute(event: unknown, told?: Told[]): string | Promise<string> {
    const { contextValue, variableValues } = this.#args
    const result = compile(this.#args)(event, contextValue, variableValues ?? {})
    if (!(result instanceof Promise)) {
      const text = this.#toText(result)
      told?.push({ to: this.#args, text: result.errors ? null : text })
      return text
    }
    const text = result.then((found) => this.#toText(found))
    told?.push({
      to: this.#args,
      text: result.then(({ errors }) => (errors ? null : text)).catch(() => null),
    })
    return text
  }

  #toText({ errors, data }: ExecutionResult): string {
    if (!errors) return JSON.stringify({ data })
    const { correlationId } = this.#args.contextValue
    const formatted = errors.map((error) => toPublicError(error, correlationId, this.#log))
    return JSON.stringify(data === undefined ? { errors: formatted } : { errors: formatted, data })
  }
}

type Run = (event: unknown, context: unknown, variables: object) => ExecutionResult | Promise<ExecutionResult>

const compiled = new WeakMap<DocumentNode, Map<string, Run>>()

/** One compiled query for each operation, shared by all its subscribers for as long as its document is kept. */
function compile(args: LiveArgs): Run {
  const { schema, document, operationName } = args
  let operations = compiled.get(document)
  if (operations === undefined) compiled.set(document, (operations = new Map<string, Run>()))
  let run = operations.get(operationName ?? '')
  if (run === undefined) {
    const query = isMisreadByJit(document) ? null : compileQuery(schema, document, operationName ?? undefined)
    run =
      query !== null && isCompiledQuery(query)
        ? query.query
        : (rootValue, contextValue, variableValues) =>
            execute({
              ...args,
              rootValue,
              contextValue,
              variableValues: variableValues as Record<string, unknown>,
            })
    operations.set(operationName ?? '', run)
  }
  return run
}

/** graphql-jit loses a response key `__proto__`, and a fragment that is spread again after a spread that is skipped. */
function isMisreadByJit(document: DocumentNode): boolean {
  const found = new Set<Kind | '__proto__'>()
  visit(document, {
    Name({ value }) {
      if (value === '__proto__') found.add(value)
    },
    FragmentSpread: ({ kind }) => void found.add(kind),
    Directive: ({ kind }) => void found.add(kind),
  })
  return found.has('__proto__') || (found.has(Kind.FRAGMENT_SPREAD) && found.has(Kind.DIRECTIVE))
}

function asksTheSame(one: LiveArgs, other: LiveArgs): boolean {
  return (
    one.document === other.document &&
    one.operationName === other.operationName &&
    one.contextValue.owner === other.contextValue.owner &&
    one.contextValue.operator === other.contextValue.operator &&
    areSame(one.variableValues ?? {}, other.variableValues ?? {})
  )
}

/** Whether two sets of variables are; nested ones count as different. */
function areSame(one: Readonly<Record<string, unknown>>, other: Readonly<Record<string, unknown>>): boolean {
  const names = Object.keys(one)
  return (
    names.length === Object.keys(other).length &&
    names.every((name) => Object.hasOwn(other, name) && Object.is(one[name], other[name]))
  )
}
