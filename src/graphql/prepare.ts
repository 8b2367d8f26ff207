import {
  getArgumentValues,
  getOperationAST,
  getVariableValues,
  GraphQLError,
  Kind,
  MaxIntrospectionDepthRule,
  NoSchemaIntrospectionCustomRule,
  OperationTypeNode,
  parse,
  specifiedRules,
  validate,
  type DocumentNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql'
import { collectFields } from 'graphql/execution/collectFields.js'
import { LRUCache } from 'lru-cache'
import type { Log } from '../tasks/ports.ts'
import { unauthenticated, type Caller } from './context.ts'
import { OperationCosts, type Fragments } from './cost.ts'
import { requestError, withCode } from './errors.ts'
import { createLimitsRule, LIMITS, type OperationLimit } from './limits.ts'
import { toVariableErrors } from './variables.ts'

/** The number of parsed and validated documents in the cache. */
const MAX_CACHED_DOCUMENTS = 500
const INVALID = 'GRAPHQL_VALIDATION_FAILED'
/** How graphql-js reports a document with more tokens than the limit: it has no code for it. */
const TOO_MANY_TOKENS = /Document contains more tha[nt] \d+ tokens/

type Prepared<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly errors: GraphQLError[] }

/** Checks every operation before it is executed. All transports use it, so that all have the same limits. */
export interface Prepare {
  /** Parses and validates a document. Valid documents are cached. Does not throw. */
  document(source: string): Prepared<DocumentNode>
  /**
   * Selects the operation, and checks its variables, its cost and whether the caller may run it. Does not
   * throw.
   */
  operation(
    document: DocumentNode,
    operationName: string | null | undefined,
    variables: Readonly<Record<string, unknown>> | null | undefined,
    caller: Pick<Caller, 'owner'>,
  ): Prepared<OperationDefinitionNode>
}

interface PrepareOptions {
  readonly introspection: boolean
  readonly log: Log
  /** Called with each limit that an operation exceeds, for metrics. */
  onRefusal?(limit: OperationLimit): void
}

export function createPrepare(
  schema: GraphQLSchema,
  { introspection, log, onRefusal = () => undefined }: PrepareOptions,
): Prepare {
  const documents = new LRUCache<string, DocumentNode>({ max: MAX_CACHED_DOCUMENTS })
  const costs = new OperationCosts(schema)
  const introspectionRule = introspection ? MaxIntrospectionDepthRule : NoSchemaIntrospectionCustomRule
  const rules = [...specifiedRules, createLimitsRule(onRefusal), introspectionRule]
  // Suggestions would disclose names of the schema.
  const hideSuggestions = !introspection
  const checkDocument = (source: string): Prepared<DocumentNode> => {
    const known = documents.get(source)
    if (known) return accept(known)
    const document = parseDocument(source)
    if (document instanceof GraphQLError) {
      if (TOO_MANY_TOKENS.test(document.message)) onRefusal('tokens')
      return refuse(document)
    }
    // graphql-js adds one error to report that there are more.
    const errors = validate(schema, document, rules, { maxErrors: LIMITS.errors - 1, hideSuggestions })
    if (errors.length > 0) return refuse(...errors.map((error) => withCode(INVALID, error)))
    documents.set(source, document)
    return accept(document)
  }
  const checkOperation: Prepare['operation'] = (document, operationName, variables, { owner }) => {
    const operation = getOperationAST(document, operationName)
    if (!operation) return refuse(toSelectionError(operationName))
    if (owner === null && operation.operation !== OperationTypeNode.SUBSCRIPTION)
      return refuse(unauthenticated())
    const given = variables ?? {}
    const { errors, coerced } = getVariableValues(schema, operation.variableDefinitions ?? [], given, {
      maxErrors: LIMITS.variableErrors - 1,
      hideSuggestions,
    })
    if (errors) return refuse(...toVariableErrors(schema, errors, given))
    const fragments = toFragments(document)
    const fault = findRootFault(schema, fragments, operation, coerced)
    if (fault) return refuse(fault)
    const cost = costs.measure(operation, fragments, coerced)
    if (cost <= LIMITS.cost) return accept(operation)
    onRefusal('cost')
    const message = `The operation costs ${cost}; the limit is ${LIMITS.cost}. Request fewer tasks at once.`
    return refuse(requestError(INVALID, message))
  }
  return {
    document: (source) => attempt(log, () => checkDocument(source)),
    operation: (...request) => attempt(log, () => checkOperation(...request)),
  }
}

function accept<T>(value: T): Prepared<T> {
  return { ok: true, value }
}

function refuse(...errors: GraphQLError[]): Prepared<never> {
  return { ok: false, errors }
}

function attempt<T>(log: Log, check: () => Prepared<T>): Prepared<T> {
  try {
    return check()
  } catch (error) {
    // graphql-js throws for some invalid documents during validation. Other errors are bugs, or too deep
    // recursion.
    if (error instanceof GraphQLError) return refuse(withCode(INVALID, error))
    log.error({ err: error }, 'failed to check a document; it is refused')
    const message = 'The document or its variables cannot be checked: simplify them.'
    return refuse(requestError(INVALID, message))
  }
}

function toSelectionError(operationName: string | null | undefined): GraphQLError {
  const message = operationName
    ? `Unknown operation named "${operationName}".`
    : 'Must provide operation name if query contains multiple operations.'
  return requestError('OPERATION_RESOLUTION_FAILURE', message)
}

/** The document, or its syntax error. */
function parseDocument(source: string): DocumentNode | GraphQLError {
  try {
    return parse(source, { maxTokens: LIMITS.tokens })
  } catch (error) {
    if (!(error instanceof GraphQLError)) throw error
    return withCode('GRAPHQL_PARSE_FAILED', error)
  }
}

function toFragments(document: DocumentNode): Fragments {
  const fragments = Object.create(null) as Record<string, FragmentDefinitionNode>
  for (const node of document.definitions)
    if (node.kind === Kind.FRAGMENT_DEFINITION) fragments[node.name.value] = node
  return fragments
}

/**
 * Finds the faults of a root selection for which graphql-js would throw when execution starts. That would
 * close a socket, and each transport would report them differently.
 */
function findRootFault(
  schema: GraphQLSchema,
  fragments: Fragments,
  operation: OperationDefinitionNode,
  variables: Record<string, unknown>,
): GraphQLError | undefined {
  const root = schema.getRootType(operation.operation)
  if (!root) return undefined
  try {
    const fields = collectFields(schema, fragments, variables, root, operation.selectionSet)
    if (operation.operation !== OperationTypeNode.SUBSCRIPTION) return undefined
    for (const [node] of fields.values()) {
      const field = node && root.getFields()[node.name.value]
      if (field) getArgumentValues(field, node, variables)
    }
    return fields.size === 0 ? requestError('BAD_REQUEST', 'The subscription selects nothing.') : undefined
  } catch (error) {
    if (error instanceof GraphQLError) return error
    throw error
  }
}
