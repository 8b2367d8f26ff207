/** Why an upscale was refused or has failed: `problem` of the schema, and `extensions` of every GraphQL error. */
export interface Problem {
  /** The stable code. Branch on it, not on the message. */
  readonly code: string
  /** What happened, for people. */
  readonly message: string
  /** Whether a retry of the same request may succeed. */
  readonly retryable: boolean
  /** How long to wait before the retry, in milliseconds. */
  readonly retryAfterMs: number | null
  /** The upscale service's code, if it sent one. */
  readonly upstreamCode: number | null
  /** The task that the error concerns, if it is stored. */
  readonly taskId: string | null
  /** Quote it to the operator, who finds the cause by it. Empty if the failure arose in the client. */
  readonly correlationId: string
}

/**
 * What every function of this package throws. `code` is a code of the gateway's error catalogue, such as TASK_NOT_FOUND or
 * UNAUTHENTICATED, or one of the client's own: CONNECTION_FAILED (no usable answer arrived; `cause` has the reason), ABORTED
 * (the signal aborted a submit) and UNKNOWN (a router has removed the code).
 */
export class FollowError extends Error implements Problem {
  override readonly name = 'FollowError'
  readonly code: string
  readonly retryable: boolean
  readonly retryAfterMs: number | null
  readonly upstreamCode: number | null
  readonly taskId: string | null
  readonly correlationId: string

  constructor(code: string, message: string, facts: Partial<Problem> & { readonly cause?: unknown } = {}) {
    super(message, 'cause' in facts ? { cause: facts.cause } : undefined)
    this.code = code
    this.retryable = facts.retryable ?? false
    this.retryAfterMs = facts.retryAfterMs ?? null
    this.upstreamCode = facts.upstreamCode ?? null
    this.taskId = facts.taskId ?? null
    this.correlationId = facts.correlationId ?? ''
  }
}

/** A GraphQL error as it arrives. */
export interface GraphqlError {
  readonly message: string
  readonly extensions?: Readonly<Record<string, unknown>> | undefined
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
  'NOT_FOUND',
  'BAD_USER_INPUT',
  'BAD_REQUEST',
  'PAYLOAD_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'OPERATION_RESOLUTION_FAILURE',
]

/** Whether a retry cannot fix the error. */
export function isPermanent({ code }: FollowError): boolean {
  return PERMANENT.includes(code)
}

/** The error with the facts of its `extensions`; `defaults` are those that it lacks. */
export function toFollowError(error: GraphqlError | undefined, defaults: Partial<Problem> = {}): FollowError {
  const { message = 'The answer has neither data nor an error.', extensions = {} } = error ?? {}
  const read = <Key extends keyof Problem>(key: Key, type: string) =>
    (typeof extensions[key] === type ? extensions[key] : defaults[key]) as Problem[Key] | undefined
  return new FollowError(read('code', 'string') ?? 'UNKNOWN', message, {
    retryable: read('retryable', 'boolean') ?? false,
    retryAfterMs: read('retryAfterMs', 'number') ?? null,
    upstreamCode: read('upstreamCode', 'number') ?? null,
    taskId: read('taskId', 'string') ?? null,
    correlationId: read('correlationId', 'string') ?? '',
  })
}

/** The error of a failed request or a lost connection. */
export function connectionFailed(message: string, retryable: boolean, cause?: unknown): FollowError {
  return new FollowError('CONNECTION_FAILED', message, { retryable, cause })
}

/** The error of an operation whose transport has failed: of graphql-ws, or of the HTTP transport. */
export function toTransportError(failure: unknown): FollowError {
  if (failure instanceof FollowError) return failure
  if (Array.isArray(failure)) return toFollowError(failure[0] as GraphqlError | undefined)
  return toAuthError(failure) ?? connectionFailed('The connection failed.', isServerFailure(failure), failure)
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
export function toAuthError(cause: unknown): FollowError | undefined {
  const { code, reason, message } = toFields(cause)
  const status = typeof message === 'string' ? /server response: (401|403)$/.exec(message)?.[1] : undefined
  if (code === UNAUTHORIZED || status === '401' || isTokenExpired(cause) || reason === 'UNAUTHENTICATED')
    return new FollowError('UNAUTHENTICATED', 'The token is missing, invalid or expired.', { cause })
  if (code === FORBIDDEN || status === '403')
    return new FollowError('FORBIDDEN', 'The token lacks permission for this server.', { cause })
  if (reason === 'AUTH_UNAVAILABLE')
    return new FollowError(reason, 'The server cannot verify tokens at the moment.', {
      cause,
      retryable: true,
    })
  return undefined
}

/** The fields of a failure of graphql-ws: a CloseEvent, an ErrorEvent or an Error. */
function toFields(error: unknown): { code?: unknown; reason?: unknown; message?: unknown } {
  return typeof error === 'object' && error !== null ? error : {}
}
