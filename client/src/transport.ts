import type { GraphqlError } from './errors.ts'

/** An operation. Its `variables` may have getters: they are read for each request. */
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
 * Runs operations: a query or mutation yields one result, a subscription one for each event. `return` ends the operation at
 * once. A client of graphql-ws is a transport; `createHttpTransport` creates one that uses HTTP only.
 */
export interface Transport {
  /** `onOpen` is called when the server has accepted the operation, if the transport knows. */
  iterate<Data = Record<string, unknown>>(
    request: GraphqlRequest,
    onOpen?: () => void,
  ): AsyncIterableIterator<GraphqlResult<Data>>
}
