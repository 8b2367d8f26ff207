import type { GraphQLError } from 'graphql'
import type { StreamEnd, WatchEnd } from '../tasks/watch/watch-state.ts'
import { requestError, STORE_UNAVAILABLE, taskNotFound } from './errors.ts'

/** The error of the event that ends a watch of one task. */
export function toEndError(end: WatchEnd, taskId: string): GraphQLError {
  return end === 'NOT_FOUND' ? taskNotFound(taskId) : toStreamEndError(end, taskId)
}

/** The error of the event that ends a stream. `taskId`: its only task; null: it has many. */
export function toStreamEndError(end: StreamEnd, taskId: string | null = null): GraphQLError {
  switch (end) {
    case 'EXPIRED':
      return requestError('UNAUTHENTICATED', 'The token has expired: reconnect with a new token.', { taskId })
    case 'GOING_AWAY':
      return requestError('SERVICE_UNAVAILABLE', 'This replica is stopping: subscribe again.', {
        taskId,
        retryable: true,
      })
    case 'UNAVAILABLE': {
      const { message, ...retry } = STORE_UNAVAILABLE
      return requestError('SERVICE_UNAVAILABLE', message, { taskId, ...retry })
    }
    default:
      return end satisfies never
  }
}
