import { GraphQLError, isValueNode, type ASTNode, type GraphQLFormattedError } from 'graphql'
import type { Problem, UpscaleErrorCode } from '../tasks/failure.ts'
import type { Log } from '../tasks/ports.ts'
import { StoreUnavailableError } from '../tasks/store-port.ts'
import { UnrepeatableError } from '../tasks/submission.ts'

/** Codes of request errors and internal errors. They are always GraphQL errors, never a `problem`. */
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
  | 'TASK_RUNNING'
  | 'TOO_LATE_TO_CANCEL'
  | 'GRAPHQL_PARSE_FAILED'
  | 'GRAPHQL_VALIDATION_FAILED'
  | 'OPERATION_RESOLUTION_FAILURE'
  | 'INTERNAL_SERVER_ERROR'

/** `extensions` of every error, with the keys of `UpscaleProblem`. */
interface ErrorExtensions {
  readonly code: UpscaleErrorCode | RequestErrorCode
  readonly retryable: boolean
  readonly retryAfterMs: number | null
  readonly upstreamCode: number | null
  readonly taskId: string | null
  readonly correlationId: string
  /** BAD_USER_INPUT only: the argument or input field at fault. */
  readonly field?: string
}

/** All keys of `extensions`. A router has to forward them. */
export const ERROR_EXTENSION_KEYS = [
  'code',
  'retryable',
  'retryAfterMs',
  'upstreamCode',
  'taskId',
  'correlationId',
  'field',
] as const satisfies readonly (keyof ErrorExtensions)[]

export function toProblemError({ message, ...extensions }: Problem): GraphQLError {
  return new GraphQLError(message, { extensions: { ...extensions } })
}

/** An error in the request. `toPublicError` adds the keys that all errors have. */
export function requestError(
  code: RequestErrorCode,
  message: string,
  extensions: Partial<ErrorExtensions> & { readonly http?: { readonly status: number } } = {},
): GraphQLError {
  return new GraphQLError(message, { extensions: { ...extensions, code } })
}

/** `field`: the argument or input field at fault. `nodes`: its place in the document. */
export function badUserInput(field: string, message: string, nodes?: ASTNode): GraphQLError {
  const extensions = { code: 'BAD_USER_INPUT', field: truncate(field, MAX_FIELD_LENGTH) }
  return new GraphQLError(message, { nodes: nodes ?? null, extensions })
}

/** Does not disclose whether a task of another owner has this id. */
export function taskNotFound(taskId: string): GraphQLError {
  return requestError('TASK_NOT_FOUND', 'No task of yours has this id.', { taskId })
}

/**
 * Removes the path from the error as clients get it. Hive Gateway's native planner ends the stream of a
 * WebSocket client at an error with a path, and the client gets neither the code nor later events.
 */
export function withoutPath(error: GraphQLError): GraphQLError {
  Object.assign(error.extensions, { isPathless: true })
  return error
}

/** Adds a code to an error of graphql-js about the syntax or validity of a document. */
export function withCode(code: RequestErrorCode, error: GraphQLError): GraphQLError {
  const { message, source = null, positions = null, extensions } = error
  return new GraphQLError(message, { source, positions, extensions: { ...extensions, code } })
}

/** When a client should retry while the store is unavailable, in milliseconds. */
export const RETRY_AFTER_MS = 2_000

/** Retryable: no repeated request is charged twice, except those that cause an UnrepeatableError. */
export const STORE_UNAVAILABLE = {
  message: 'The service is unavailable at the moment: retry.',
  retryable: true,
  retryAfterMs: RETRY_AFTER_MS,
}

function toOutageError(error: StoreUnavailableError, correlationId: string): GraphQLError {
  const { message, ...retry } = STORE_UNAVAILABLE
  if (!(error instanceof UnrepeatableError))
    return requestError('SERVICE_UNAVAILABLE', message, { ...retry, correlationId })
  const found =
    'The service became unavailable during the submit, which may be charged: look for the task in upscaleTasks before you submit it again.'
  return requestError('SERVICE_UNAVAILABLE', found, { correlationId })
}

/** Logs an unexpected error or an outage of the store, and returns an error that contains no details. */
export function maskError(error: unknown, correlationId: string, log: Log): GraphQLError {
  const cause = error instanceof GraphQLError ? (error.originalError ?? error) : error
  if (cause instanceof StoreUnavailableError) {
    // Without a stack: an outage causes a line for each operation.
    log.warn({ reason: cause.message, correlationId }, 'an operation failed: the store is unavailable')
    return toOutageError(cause, correlationId)
  }
  log.error({ err: error, correlationId }, 'an operation failed unexpectedly')
  return requestError('INTERNAL_SERVER_ERROR', 'Internal server error', { correlationId })
}

/** Formats errors for all transports. An error without a code is unexpected: it is masked. */
export function toPublicError(error: GraphQLError, correlationId: string, log: Log): GraphQLFormattedError {
  const coded = toArgumentError(error) ?? (typeof error.extensions.code === 'string' ? error : undefined)
  const { locations, path } = error
  return {
    ...toCodedError(coded ?? maskError(error, correlationId, log), correlationId),
    ...(locations && { locations }),
    ...(path && error.extensions.isPathless !== true && { path }),
  }
}

/** Formats an error that has a code, without its place in the document and the response. */
export function toCodedError({ message, extensions }: GraphQLError, correlationId: string) {
  // `http` is for Apollo Server, `isPathless` for `toPublicError`.
  const { http: _, isPathless: __, ...facts } = extensions
  const shared = { retryable: false, retryAfterMs: null, upstreamCode: null, taskId: null, correlationId }
  return { message: truncate(message, MAX_MESSAGE_LENGTH), extensions: { ...shared, ...facts } }
}

/** graphql-js quotes invalid values in full. */
const MAX_MESSAGE_LENGTH = 500
const MAX_FIELD_LENGTH = 100

function truncate(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length).toWellFormed()}…`
}

/**
 * An error of graphql-js about the value of an argument, such as a null variable. Undefined for any other
 * error.
 */
function toArgumentError({ message, nodes, extensions }: GraphQLError): GraphQLError | undefined {
  const [value] = nodes ?? []
  if (value === undefined || !isValueNode(value) || extensions.code !== undefined) return undefined
  // In the document, the name and a colon come before the value.
  return badUserInput(value.loc?.startToken.prev?.prev?.value ?? 'variables', message)
}

/** The HTTP status of an error, as Apollo Server reads it. */
export function toHttpStatus({ extensions: { http } }: GraphQLError): number | undefined {
  const status = typeof http === 'object' && http !== null && 'status' in http ? http.status : undefined
  return typeof status === 'number' ? status : undefined
}
