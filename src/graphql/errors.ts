import { GraphQLError, isValueNode, Kind, type GraphQLFormattedError } from 'graphql'
import type { Problem, UpscaleErrorCode } from '../tasks/failure.ts'
import type { Log } from '../tasks/ports.ts'

/** Codes of faults that lie in the request or in us: always GraphQL errors, never a `problem`. */
export type RequestErrorCode =
  | 'BAD_USER_INPUT'
  | 'BAD_REQUEST'
  | 'NOT_FOUND'
  | 'BAD_SIGNATURE'
  | 'PAYLOAD_TOO_LARGE'
  | 'UNSUPPORTED_MEDIA_TYPE'
  | 'FORBIDDEN'
  | 'UNAUTHENTICATED'
  | 'AUTH_UNAVAILABLE'
  | 'TOO_MANY_OPERATIONS'
  | 'SERVICE_UNAVAILABLE'
  | 'TASK_NOT_FOUND'
  | 'GRAPHQL_PARSE_FAILED'
  | 'GRAPHQL_VALIDATION_FAILED'
  | 'OPERATION_RESOLUTION_FAILURE'
  | 'INTERNAL_SERVER_ERROR'

/** `extensions` of every error, flat: the same keys as the fields of `UpscaleProblem`. */
export interface ErrorExtensions {
  readonly code: UpscaleErrorCode | RequestErrorCode
  readonly retryable: boolean
  readonly retryAfterMs: number | null
  readonly upstreamCode: number | null
  readonly taskId: string | null
  readonly correlationId: string
  /** BAD_USER_INPUT only: the argument or input field at fault. */
  readonly field?: string
}

/** All keys of `extensions`: what a router has to let through. */
export const ERROR_EXTENSION_KEYS = [
  'code',
  'retryable',
  'retryAfterMs',
  'upstreamCode',
  'taskId',
  'correlationId',
  'field',
] as const satisfies readonly (keyof ErrorExtensions)[]

/** The typed GraphQL error of a task failure. */
export function toProblemError({ message, ...extensions }: Problem): GraphQLError {
  return new GraphQLError(message, { extensions: { ...extensions } })
}

/** A fault of the request; the transport adds the keys that all errors share. */
export function requestError(
  code: RequestErrorCode,
  message: string,
  extensions: Partial<ErrorExtensions> & { readonly http?: { readonly status: number } } = {},
): GraphQLError {
  return new GraphQLError(message, { extensions: { ...extensions, code } })
}

export function badUserInput(field: string, message: string): GraphQLError {
  return requestError('BAD_USER_INPUT', message, { field })
}

/** The task is unknown or someone else's: the two cannot be told apart. */
export function taskNotFound(taskId: string): GraphQLError {
  return requestError('TASK_NOT_FOUND', 'No task of yours has this id.', { taskId })
}

/** An error that graphql-js made itself (syntax, validation) with the code of the stage it comes from. */
export function withCode(code: RequestErrorCode, error: GraphQLError): GraphQLError {
  const { message, source = null, positions = null, extensions } = error
  return new GraphQLError(message, { source, positions, extensions: { ...extensions, code } })
}

/** Hides whatever went wrong unexpectedly and logs it beside the id that the client is shown. */
export function maskError(error: unknown, correlationId: string, log: Log): GraphQLError {
  log.error({ err: error, correlationId }, 'an operation failed unexpectedly')
  return requestError('INTERNAL_SERVER_ERROR', 'Internal server error', { correlationId })
}

/**
 * The one shape in which an error leaves, on every transport. An error without a code of ours was not
 * foreseen: it is masked.
 */
export function toPublicError(error: GraphQLError, correlationId: string, log: Log): GraphQLFormattedError {
  const coded = toVariableError(error) ?? (typeof error.extensions.code === 'string' ? error : undefined)
  const { message, extensions } = coded ?? maskError(error, correlationId, log)
  // Apollo Server's note to itself: the HTTP status and headers.
  const { http: _, ...facts } = extensions
  const { locations, path } = error
  const shared = { retryable: false, retryAfterMs: null, upstreamCode: null, taskId: null, correlationId }
  return {
    message: cut(message, MAX_MESSAGE_LENGTH),
    ...(locations && { locations }),
    ...(path && { path }),
    extensions: { ...shared, ...facts },
  }
}

/** graphql-js quotes a refused value in full, whatever its length. */
const MAX_MESSAGE_LENGTH = 500
const MAX_FIELD_LENGTH = 100

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length).toWellFormed()}…`
}

/** What graphql-js says of the value of a variable or argument, as the caller's fault with the field named; undefined for any other. */
function toVariableError({ message, nodes, extensions }: GraphQLError): GraphQLError | undefined {
  const [node] = nodes ?? []
  const { code = 'BAD_USER_INPUT' } = extensions
  if (node === undefined || code !== 'BAD_USER_INPUT') return undefined
  const variable = node.kind === Kind.VARIABLE_DEFINITION
  if (!variable && !isValueNode(node)) return undefined
  const field = variable
    ? toField(message, node.variable.name.value)
    : (/[Aa]rgument "([^"]+)"/.exec(message)?.[1] ?? toField(message, 'variables'))
  return new GraphQLError(message, {
    extensions: { ...extensions, code, field: cut(field, MAX_FIELD_LENGTH) },
  })
}

/** The innermost name that a variable error of graphql-js is about: it tells the path in its message only. */
function toField(message: string, variable: string): string {
  const missing = /Field "([^"]+)" (?:of required type|is not defined)/.exec(message)?.[1]
  const path = / at "([^"]+)"/.exec(message)?.[1]
  return missing ?? path?.split('.').at(-1) ?? variable
}

/** The HTTP status that an error asks for, in Apollo Server's way. */
export function toHttpStatus({ extensions: { http } }: GraphQLError): number | undefined {
  const status = typeof http === 'object' && http !== null && 'status' in http ? http.status : undefined
  return typeof status === 'number' ? status : undefined
}
