import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { GraphQLError } from 'graphql'
import { requestError, toPublicError, type RequestErrorCode } from '../graphql/errors.ts'
import type { Log } from '../tasks/ports.ts'
import { JSON_TYPE, toPreferredType } from './media-type.ts'

/** Codes of faults that end a request before it becomes an operation, by HTTP status. */
const CODES: Record<number, RequestErrorCode> = {
  401: 'BAD_SIGNATURE',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  413: 'PAYLOAD_TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  500: 'INTERNAL_SERVER_ERROR',
  503: 'SERVICE_UNAVAILABLE',
}

/** The shape of every error body. */
export function toErrorBody(code: RequestErrorCode, message: string, correlationId: string, log: Log) {
  return { errors: [toPublicError(requestError(code, message), correlationId, log)] }
}

/**
 * Answers with an error in the format that all errors of this service have. Routes of GraphQL answer in the media
 * type that the client prefers.
 */
export function sendError(
  request: FastifyRequest,
  reply: FastifyReply,
  status: number,
  message: string,
  log: Log,
  code: RequestErrorCode = CODES[status] ?? 'BAD_REQUEST',
): FastifyReply {
  const isGraphql = request.routeOptions.url?.startsWith('/graphql') === true
  const type = isGraphql ? toPreferredType(request.headers.accept) : JSON_TYPE
  const body = JSON.stringify(toErrorBody(code, message, request.id, log))
  return reply.code(status).type(`${type}; charset=utf-8`).send(body)
}

/** JSON errors for unknown paths, unreadable bodies and unexpected errors. */
export function handleErrors(app: FastifyInstance, log: Log): void {
  app.setNotFoundHandler((request, reply) => sendError(request, reply, 404, 'There is nothing here.', log))
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const status = error.statusCode ?? 500
    // A client's mistake is answered but not logged: its message may quote any input.
    if (status >= 400 && status < 500) return sendError(request, reply, status, error.message, log)
    if (!(error instanceof GraphQLError))
      log.error({ err: error, correlationId: request.id }, 'a request failed unexpectedly')
    return sendError(request, reply, 500, 'Internal server error', log)
  })
}
