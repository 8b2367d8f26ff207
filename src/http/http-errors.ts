import type { FastifyInstance, FastifyReply } from 'fastify'
import { GraphQLError } from 'graphql'
import {
  requestError,
  RETRY_AFTER_MS,
  STORE_UNAVAILABLE,
  toCodedError,
  type RequestErrorCode,
} from '../graphql/errors.ts'
import type { Log } from '../tasks/ports.ts'
import { StoreUnavailableError } from '../tasks/store-port.ts'
import { JSON_TYPE, toPreferredType } from './media-type.ts'

/** Codes of requests that fail before they are operations. */
const CODES: Record<number, RequestErrorCode> = {
  401: 'BAD_SIGNATURE',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  413: 'PAYLOAD_TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  500: 'INTERNAL_SERVER_ERROR',
  503: 'SERVICE_UNAVAILABLE',
}

/** When a client should retry after an error that passes by itself, in milliseconds. */
const RETRIES: Partial<Record<RequestErrorCode, number>> = {
  SERVICE_UNAVAILABLE: RETRY_AFTER_MS,
  AUTH_UNAVAILABLE: 5_000,
}

/** The body of every error response. */
export function toErrorBody(code: RequestErrorCode, message: string, correlationId: string): string {
  const retryAfterMs = RETRIES[code]
  const retry = retryAfterMs === undefined ? {} : { retryable: true, retryAfterMs }
  return JSON.stringify({ errors: [toCodedError(requestError(code, message, retry), correlationId)] })
}

/** Responds with an error. GraphQL routes use the media type that the client prefers. */
export function sendError(
  reply: FastifyReply,
  status: number,
  message: string,
  code: RequestErrorCode = CODES[status] ?? 'BAD_REQUEST',
): FastifyReply {
  const { routeOptions, headers, id } = reply.request
  const isGraphql = routeOptions.url?.startsWith('/graphql') === true
  const type = isGraphql ? toPreferredType(headers.accept) : JSON_TYPE
  const retryAfterMs = RETRIES[code]
  if (retryAfterMs !== undefined) addRetryAfter(reply, retryAfterMs)
  return reply
    .code(status)
    .type(`${type}; charset=utf-8`)
    .send(toErrorBody(code, message, id))
}

/**
 * Logs that a request failed because the store is unavailable: without a stack, because an outage causes many
 * lines.
 */
export function logOutage({ message: reason }: StoreUnavailableError, correlationId: string, log: Log): void {
  log.warn({ reason, correlationId }, 'a request failed: the store is unavailable')
}

/** Adds `Retry-After` to a response with status 503. */
export function addRetryAfter(reply: FastifyReply, afterMs = RETRY_AFTER_MS): void {
  reply.header('retry-after', String(afterMs / 1_000))
}

const JSON_ONLY = 'Only JSON is read here: send the body with the header "content-type: application/json".'

export const NOTHING_HERE = 'There is nothing here.'

/**
 * JSON errors for unknown paths, unreadable bodies and unexpected errors. `hint`: what there is, for unknown
 * paths.
 */
export function handleErrors(app: FastifyInstance, log: Log, hint?: string): void {
  const message = hint === undefined ? NOTHING_HERE : `${NOTHING_HERE} ${hint}`
  app.setNotFoundHandler((_request, reply) => sendError(reply, 404, message))
  app.setErrorHandler(
    (error: Error & { readonly statusCode?: number; readonly code?: string }, request, reply) => {
      const status = error.statusCode ?? 500
      if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return sendError(reply, 415, JSON_ONLY)
      // Errors of clients are not logged: the message may quote any input.
      if (status >= 400 && status < 500) return sendError(reply, status, error.message)
      if (error instanceof StoreUnavailableError) {
        logOutage(error, request.id, log)
        return sendError(reply, 503, STORE_UNAVAILABLE.message)
      }
      if (!(error instanceof GraphQLError))
        log.error({ err: error, correlationId: request.id }, 'a request failed unexpectedly')
      return sendError(reply, 500, 'Internal server error')
    },
  )
}
