import {
  execute,
  Kind,
  visit,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLSchema,
} from 'graphql'
import type { CompiledQuery } from 'graphql-jit'
import type { Log } from '../tasks/ports.ts'

type Query = CompiledQuery['query']
type Jit = typeof import('graphql-jit')

/**
 * Executes operations with graphql-jit: each is compiled once and kept as long as its document. Until
 * graphql-jit is loaded, graphql-js executes.
 */
export class CompiledQueries {
  readonly #schema: GraphQLSchema
  readonly #log: Log
  readonly #queries = new WeakMap<DocumentNode, Map<string | null, Query | null>>()
  #jit: Jit | undefined
  #loading: Promise<void> | undefined

  constructor(schema: GraphQLSchema, log: Log) {
    this.#schema = schema
    this.#log = log
  }

  execute(rootValue: unknown, args: ExecutionArgs): ExecutionResult | Promise<ExecutionResult> {
    const query = this.#compile(args)
    const { document, operationName, variableValues, contextValue } = args
    return query === null
      ? execute({ schema: this.#schema, document, operationName, variableValues, contextValue, rootValue })
      : query(rootValue, contextValue, variableValues ?? {})
  }

  /** Null: graphql-jit is not loaded yet, or cannot compile the operation. */
  #compile({ document, operationName = null }: ExecutionArgs): Query | null {
    if (this.#jit === undefined) return null
    const { compileQuery, isCompiledQuery } = this.#jit
    let queries = this.#queries.get(document)
    if (queries === undefined) this.#queries.set(document, (queries = new Map<string | null, Query | null>()))
    let query = queries.get(operationName)
    if (query === undefined) {
      const compiled = isMisreadByJit(document)
        ? null
        : compileQuery(this.#schema, document, operationName ?? undefined)
      query = compiled !== null && isCompiledQuery(compiled) ? compiled.query : null
      queries.set(operationName, query)
    }
    return query
  }

  /** Loads graphql-jit once. Does not reject. */
  load(): Promise<void> {
    this.#loading ??= import('graphql-jit').then(
      (jit) => void (this.#jit = jit),
      (err: unknown) =>
        this.#log.error(
          { err },
          'failed to load graphql-jit: graphql-js executes subscription events, more slowly. ' +
            'Restart the service if its bundle was replaced',
        ),
    )
    return this.#loading
  }
}

/**
 * graphql-jit omits a response key `__proto__`, and the second spread of a fragment whose first spread is
 * skipped.
 */
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
