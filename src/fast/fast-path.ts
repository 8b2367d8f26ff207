import type { GraphQLSchema } from 'graphql'
import type { Log } from '../tasks/ports.ts'
import { SharedResults, type Operation } from './shared-results.ts'
import { toTextFrame } from './text-frame.ts'

/**
 * What sockets use instead of graphql-js and `ws`. It changes no result; see FastPath in
 * http/accepted-operation.ts.
 */
export function createFastPath(schema: GraphQLSchema, log: Log) {
  const results = new SharedResults(schema, log)
  return {
    load: () => results.load(),
    executeEvent: (event: unknown, operation: Operation) => results.toJson(event, operation),
    toTextFrame,
  }
}
