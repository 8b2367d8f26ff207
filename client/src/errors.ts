/**
 * Why an upscale was refused or has failed: `problem` of the schema, and `extensions` of every GraphQL error.
 */
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
 * What every function of this package throws. `code` is a code of the gateway's error catalogue, such as
 * TASK_NOT_FOUND or UNAUTHENTICATED, or one of the client's own: CONNECTION_FAILED (no usable answer arrived;
 * `cause` has the reason), ABORTED (the signal aborted a submit) and UNKNOWN (a router has removed the code).
 */
export class FollowError extends Error implements Problem {
  override readonly name = 'FollowError'
  declare readonly code: string
  declare readonly retryable: boolean
  declare readonly retryAfterMs: number | null
  declare readonly upstreamCode: number | null
  declare readonly taskId: string | null
  declare readonly correlationId: string

  constructor(code: string, message: string, facts: Facts = {}) {
    super(message, facts)
    Object.assign(this, NO_FACTS, facts, { code })
  }
}

/** What an error lacks. */
const NO_FACTS = {
  retryable: false,
  retryAfterMs: null,
  upstreamCode: null,
  taskId: null,
  correlationId: '',
}

/** Selects a `Problem`. */
export const PROBLEM = 'problem { code message retryable retryAfterMs upstreamCode taskId correlationId }'

type Facts = Partial<Problem> & ErrorOptions

/** A GraphQL error as it arrives. */
export interface GraphqlError {
  readonly message: string
  readonly extensions?: Readonly<Record<string, unknown>> | undefined
}

/** The codes of HTTP statuses, for responses without a body of ours, such as those of a proxy. */
export const CODES: Readonly<Record<string, string>> = {
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  429: 'RATE_LIMITED',
  500: 'INTERNAL_SERVER_ERROR',
}

/**
 * UNAUTHENTICATED, FORBIDDEN, and the codes of invalid requests: BAD_USER_INPUT, TASK_NOT_FOUND,
 * GRAPHQL_PARSE_FAILED …
 */
const PERMANENT = /^(UNAU|FORB|BAD_|PAYL|UNSU|GRAP|OPER)|NOT_FOUND$/

/** Whether a retry cannot fix the error. */
export function isPermanent({ code }: FollowError): boolean {
  return PERMANENT.test(code)
}

/** Failures of the gateway or the way to it: the request may have been lost, or its answer. */
const UNANSWERED = /^CONNECTION_FAILED$|_UNAVAILABLE$/

/** Whether the same request is sent again. */
export function isUnanswered({ code, retryable }: FollowError): boolean {
  return retryable && UNANSWERED.test(code)
}

/** The error with the facts of its `extensions`; `defaults` are those that it lacks. */
export function toFollowError(error?: GraphqlError, defaults: Facts = {}): FollowError {
  const { code = 'UNKNOWN', ...facts } = { ...defaults, ...(error?.extensions as Facts | undefined) }
  return new FollowError(code, error?.message ?? 'No data.', facts)
}

/** The error of a failed request or a lost connection. */
export function connectionFailed(cause?: unknown): FollowError {
  return new FollowError('CONNECTION_FAILED', 'Connection failed.', { retryable: true, cause })
}

/**
 * The failure of an operation as its transport threw it. graphql-ws has given up after a close code, except
 * 1011 and 4500 of a server that failed: it does not reconnect after them.
 * @throws FollowError if the transport has given up.
 */
export function toTransportError(failure: unknown): FollowError {
  if (failure instanceof FollowError) return failure
  if (Array.isArray(failure)) return toFollowError(failure[0] as GraphqlError | undefined)
  const { code } = toFields(failure)
  if (code === 1011 || code === 4500) return connectionFailed(failure)
  throw toAuthError(failure) ?? connectionFailed(failure)
}

export function isTokenExpired(error: unknown): boolean {
  return toFields(error).reason === 'TOKEN_EXPIRED'
}

/**
 * The error of a connection whose token was refused, by a close code (4401, 4403) or its reason; undefined
 * for any other error. `ws` states the HTTP status in its message; browsers do not expose it.
 */
export function toAuthError(cause: unknown): FollowError | undefined {
  const { code, reason, message } = toFields(cause)
  const isRefused = reason === 'UNAUTHENTICATED' || isTokenExpired(cause)
  const retryable = reason === 'AUTH_UNAVAILABLE'
  const status = /(?:^4|server response: )(40[13])\b/.exec(`${String(code)} ${String(message)}`)?.[1]
  const refusal = retryable ? reason : CODES[isRefused ? 401 : (status ?? '')]
  return refusal ? new FollowError(refusal, 'Token refused.', { cause, retryable }) : undefined
}

/** The fields of a failure of graphql-ws: a CloseEvent, an ErrorEvent or an Error. */
function toFields(error: unknown) {
  return (error ?? {}) as { readonly code?: unknown; readonly reason?: unknown; readonly message?: unknown }
}
