import {
  getOperationAST,
  getVariableValues,
  GraphQLError,
  NoSchemaIntrospectionCustomRule,
  parse,
  specifiedRules,
  validate,
  type DocumentNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql'
import { LRUCache } from 'lru-cache'
import { requestError, withCode } from './errors.ts'

/** A document longer than this is refused before it is parsed to its end. */
const MAX_TOKENS = 1_000
/** Validation and variables report no more errors than this. */
const MAX_ERRORS = 20
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
  /** Picks the operation to run and checks the variables against it. */
  operation(
    document: DocumentNode,
    operationName: string | null | undefined,
    variables: Readonly<Record<string, unknown>> | null | undefined,
  ): Prepared<OperationDefinitionNode>
}

export function createPrepare(schema: GraphQLSchema, { introspection }: { introspection: boolean }): Prepare {
  const rules = introspection ? specifiedRules : [...specifiedRules, NoSchemaIntrospectionCustomRule]
  const documents = new LRUCache<string, DocumentNode>({ max: MAX_CACHED_DOCUMENTS })
  return {
    document(source) {
      const known = documents.get(source)
      if (known) return { ok: true, value: known }
      let document: DocumentNode
      try {
        document = parse(source, { maxTokens: MAX_TOKENS })
      } catch (error) {
        if (!(error instanceof GraphQLError)) throw error
        return { ok: false, errors: [withCode('GRAPHQL_PARSE_FAILED', error)] }
      }
      const errors = validate(schema, document, rules, { maxErrors: MAX_ERRORS })
      if (errors.length > 0)
        return { ok: false, errors: errors.map((error) => withCode('GRAPHQL_VALIDATION_FAILED', error)) }
      documents.set(source, document)
      return { ok: true, value: document }
    },

    operation(document, operationName, variables) {
      const operation = getOperationAST(document, operationName)
      if (!operation) {
        const message = operationName
          ? `Unknown operation named "${operationName}".`
          : 'Must provide operation name if query contains multiple operations.'
        return { ok: false, errors: [requestError('OPERATION_RESOLUTION_FAILURE', message)] }
      }
      const definitions = operation.variableDefinitions ?? []
      const { errors } = getVariableValues(schema, definitions, variables ?? {}, { maxErrors: MAX_ERRORS })
      return errors ? { ok: false, errors: [...errors] } : { ok: true, value: operation }
    },
  }
}
