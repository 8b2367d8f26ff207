import {
  getArgumentValues,
  getOperationAST,
  getVariableValues,
  GraphQLError,
  MaxIntrospectionDepthRule,
  NoSchemaIntrospectionCustomRule,
  parse,
  specifiedRules,
  validate,
  Kind,
  OperationTypeNode,
  type DocumentNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql'
import { collectFields } from 'graphql/execution/collectFields.js'
import { LRUCache } from 'lru-cache'
import { unauthenticated, type Caller } from './context.ts'
import type { Log } from '../tasks/ports.ts'
import { badUserInput, requestError, withCode } from './errors.ts'
import { LIMITS, limitsRule, measureCost } from './limits.ts'

/** Documents kept parsed and validated. */
const MAX_CACHED_DOCUMENTS = 500

export type Prepared<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly errors: GraphQLError[] }

/**
 * What every operation goes through before it is executed, whichever transport brought it: so that no
 * limit holds on one and not on the other.
 */
export interface Prepare {
  /** Parses and validates a document, once: it is kept. */
  document(source: string): Prepared<DocumentNode>
  /** Picks the operation to run and checks the variables against it, and that the caller may run such a thing at all. */
  operation(
    document: DocumentNode,
    operationName: string | null | undefined,
    variables: Readonly<Record<string, unknown>> | null | undefined,
    caller: Pick<Caller, 'owner'>,
  ): Prepared<OperationDefinitionNode>
}

export interface PrepareOptions {
  readonly introspection: boolean
  readonly log: Log
}

/** Neither method throws, for any document and variables. */
export function createPrepare(schema: GraphQLSchema, { introspection, log }: PrepareOptions): Prepare {
  const rules = [
    ...specifiedRules,
    limitsRule,
    introspection ? MaxIntrospectionDepthRule : NoSchemaIntrospectionCustomRule,
  ]
  // graphql-js adds one error to say that there were more. Suggestions would tell what introspection does not.
  const options = { maxErrors: LIMITS.errors - 1, hideSuggestions: !introspection }
  const documents = new LRUCache<string, DocumentNode>({ max: MAX_CACHED_DOCUMENTS })

  const checkDocument = (source: string): Prepared<DocumentNode> => {
    const document = parseDocument(source)
    if (document instanceof GraphQLError) return refuse(document)
    const errors = validate(schema, document, rules, options)
    if (errors.length > 0) return refuse(...errors.map((error) => withCode(INVALID, error)))
    documents.set(source, document)
    return { ok: true, value: document }
  }
  const checkOperation: Prepare['operation'] = (document, operationName, variables, { owner }) => {
    const operation = getOperationAST(document, operationName)
    if (!operation) {
      const message = operationName
        ? `Unknown operation named "${operationName}".`
        : 'Must provide operation name if query contains multiple operations.'
      return refuse(requestError('OPERATION_RESOLUTION_FAILURE', message))
    }
    if (owner === null && operation.operation !== OperationTypeNode.SUBSCRIPTION)
      return refuse(unauthenticated())
    const definitions = operation.variableDefinitions ?? []
    const limits = { ...options, maxErrors: LIMITS.variableErrors - 1 }
    const { errors, coerced } = getVariableValues(schema, definitions, variables ?? {}, limits)
    if (errors) return refuse(...errors.map(toInputError))
    const fault = findRootFault(schema, document, operation, coerced)
    if (fault) return refuse(fault)
    const cost = measureCost(schema, document, operation, coerced)
    if (cost <= LIMITS.cost) return { ok: true, value: operation }
    const message = `The operation costs ${cost}; the limit is ${LIMITS.cost}. Ask for fewer tasks at once.`
    return refuse(requestError(INVALID, message))
  }
  return {
    document(source) {
      const known = documents.get(source)
      if (known) return { ok: true, value: known }
      try {
        return checkDocument(source)
      } catch (error) {
        return refuse(toRefusal(error, log))
      }
    },
    operation(...request) {
      try {
        return checkOperation(...request)
      } catch (error) {
        return refuse(toRefusal(error, log))
      }
    },
  }
}

const INVALID = 'GRAPHQL_VALIDATION_FAILED'

function refuse(...errors: GraphQLError[]): Prepared<never> {
  return { ok: false, errors }
}

/** graphql-js throws for some invalid documents during validation; any other error is a bug, or too deep a recursion. */
function toRefusal(error: unknown, log: Log): GraphQLError {
  if (error instanceof GraphQLError) return withCode(INVALID, error)
  log.error({ err: error }, 'a document could not be checked, and is refused')
  return requestError(INVALID, 'The document or its variables cannot be checked: simplify them.')
}

/** The document, or what is wrong with its syntax. */
function parseDocument(source: string): DocumentNode | GraphQLError {
  try {
    return parse(source, { maxTokens: LIMITS.tokens })
  } catch (error) {
    if (!(error instanceof GraphQLError)) throw error
    return withCode('GRAPHQL_PARSE_FAILED', error)
  }
}

/** "Too many errors" refers to no particular variable. */
function toInputError(error: GraphQLError): GraphQLError {
  return error.nodes ? error : badUserInput('variables', error.message)
}

/**
 * What graphql-js would only find out at the start of execution: a root selection that cannot be made, or of
 * a subscription one with nothing left in it, or arguments that variables do not fit. There it would throw, and that
 * would end a whole socket, or be told in another way on each transport.
 */
function findRootFault(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Record<string, unknown>,
): GraphQLError | undefined {
  const root = schema.getRootType(operation.operation)
  const fragments = Object.create(null) as Record<string, FragmentDefinitionNode>
  for (const node of document.definitions)
    if (node.kind === Kind.FRAGMENT_DEFINITION) fragments[node.name.value] = node
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
