import type { GraphqlError } from './errors.ts'

/** An operation. `variables` may be a getter: it is read for each request, also after a reconnect. */
export interface GraphqlRequest {
  readonly query: string
  readonly variables?: Readonly<Record<string, unknown>>
  readonly operationName?: string
}

export interface GraphqlResult<Data = Record<string, unknown>> {
  readonly data?: Data | null | undefined
  readonly errors?: readonly GraphqlError[] | undefined
}

/**
 * Runs operations: a query or mutation yields one result, a subscription one for each event. `return` ends
 * the operation at once. A client of graphql-ws is a transport; `createHttpTransport` creates one that uses
 * HTTP only.
 */
export interface Transport {
  iterate<Data = Record<string, unknown>>(request: GraphqlRequest): AsyncIterableIterator<GraphqlResult<Data>>
}

/**
 * `live`: an event has arrived. `waiting`: between two attempts, such as offline. graphql-ws reconnects by
 * itself and does not report it here: use its events `connecting`, `connected` and `closed`.
 */
export type ConnectionState = 'connecting' | 'live' | 'waiting'
