import { print, type AstNode } from './print.ts'
import type { GraphqlRequest } from './transport.ts'

/**
 * A document that knows the type of its data: a TypedDocumentNode, or a TypedDocumentString of graphql-codegen. The types of
 * both fit, so that this package depends on neither.
 */
export interface TypedDocument<Data = unknown> {
  readonly __apiType?: (variables: never) => Data
  /** Of a node. Absent: the document is a string. */
  readonly definitions?: readonly unknown[]
  /** Of a string: the text. A plain string is accepted, too. */
  toString(): string
}

/** The text of a document. */
export function toText(document: TypedDocument): string {
  return document.definitions ? print(document as AstNode) : String(document)
}

/** A request with those of the variables that its text declares. Getters among them are kept. */
export function toRequest(query: string, variables: Record<string, unknown>): GraphqlRequest {
  const declared = {}
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(variables)))
    if (new RegExp(`\\$${name}\\s*:`).test(query)) Object.defineProperty(declared, name, descriptor)
  return { query, variables: declared }
}
