/** A task cannot be followed. `code` is a code of the error catalogue, e.g. TASK_NOT_FOUND or UNAUTHENTICATED. */
export class FollowError extends Error {
  override readonly name = 'FollowError'
  readonly code: string
  /** The id of the task that the error concerns; null if it concerns no single task. */
  readonly taskId: string | null

  constructor(code: string, message: string, taskId: string | null = null) {
    super(message)
    this.code = code
    this.taskId = taskId
  }
}

/** A GraphQL error as it arrives. */
export interface GraphqlError {
  readonly message: string
  readonly extensions?:
    | {
        readonly code?: unknown
        readonly taskId?: unknown
        readonly retryable?: unknown
        readonly retryAfterMs?: unknown
      }
    | undefined
}

/** The token is missing or invalid. graphql-ws does not retry it. */
const UNAUTHORIZED = 4401
/** The token has expired, or (from other servers) lacks permission. */
const FORBIDDEN = 4403
/** Close codes of a server that failed: Internal Error, and that of graphql-ws. */
const SERVER_FAILURES: unknown[] = [1011, 4500]

const PERMANENT = [
  'TASK_NOT_FOUND',
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'BAD_USER_INPUT',
  'BAD_REQUEST',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
]

/** Whether a retry cannot fix the error. */
export function isPermanent({ code }: FollowError): boolean {
  return PERMANENT.includes(code)
}

export function toFollowError(error: GraphqlError | undefined): FollowError {
  const { code, taskId } = error?.extensions ?? {}
  const message = error?.message ?? 'The event has neither a task nor an error.'
  const id = typeof taskId === 'string' ? taskId : null
  return new FollowError(typeof code === 'string' ? code : 'UNKNOWN', message, id)
}

/** How long to wait at least before a retry, in milliseconds; null: the error is not marked as retryable. */
export function toRetryMs(error: GraphqlError | undefined): number | null {
  const { retryable, retryAfterMs } = error?.extensions ?? {}
  if (retryable !== true) return null
  return typeof retryAfterMs === 'number' ? retryAfterMs : 0
}

/** Whether the server closed the connection because it failed. graphql-ws does not reconnect then. */
export function isServerFailure(error: unknown): boolean {
  return SERVER_FAILURES.includes(toFields(error).code)
}

export function isTokenExpired(error: unknown): boolean {
  const { code, reason } = toFields(error)
  return code === FORBIDDEN && reason === 'TOKEN_EXPIRED'
}

/**
 * The error of a connection whose token was refused; undefined for any other error. `ws` states the HTTP status in its
 * message; browsers do not expose it.
 */
export function toAuthError(error: unknown): FollowError | undefined {
  const { code, reason, message } = toFields(error)
  const status = typeof message === 'string' ? /server response: (401|403)$/.exec(message)?.[1] : undefined
  if (code === UNAUTHORIZED || status === '401' || isTokenExpired(error) || reason === 'UNAUTHENTICATED')
    return new FollowError('UNAUTHENTICATED', 'The token is missing, invalid or expired.')
  if (code === FORBIDDEN || status === '403')
    return new FollowError('FORBIDDEN', 'The token lacks permission for this server.')
  if (reason === 'AUTH_UNAVAILABLE')
    return new FollowError(reason, 'The server cannot verify tokens at the moment.')
  return undefined
}

/** The fields of a failure of graphql-ws: a CloseEvent, an ErrorEvent or an Error. */
function toFields(error: unknown): { code?: unknown; reason?: unknown; message?: unknown } {
  return typeof error === 'object' && error !== null ? error : {}
}
