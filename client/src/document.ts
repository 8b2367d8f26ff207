import { print, type AstNode } from './print.ts'
import type { GraphqlRequest } from './transport.ts'

/**
 * A document that knows the type of its data: a TypedDocumentNode, or a TypedDocumentString of
 * graphql-codegen. The types of both fit, so that this package depends on neither.
 */
export interface TypedDocument<Data = unknown> {
  readonly __apiType?: (variables: never) => Data
  /** Of a node. Absent: the document is a string. */
  readonly definitions?: readonly unknown[]
  /** Of a string: the text. A plain string is accepted, too. */
  toString(): string
}

/** A request with those of the variables that its text declares. They are read for each attempt. */
export function toRequest(
  document: TypedDocument,
  readVariables: () => Record<string, unknown>,
): GraphqlRequest {
  const query = document.definitions ? print(document as AstNode) : String(document)
  const isDeclared = ([name]: [string, unknown]) => query.includes(`$${name}:`)
  return {
    query,
    get variables() {
      return Object.fromEntries(Object.entries(readVariables()).filter(isDeclared))
    },
  }
}
