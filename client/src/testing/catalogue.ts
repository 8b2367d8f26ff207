// Generated from src/tasks, src/upstream and src/graphql by `npm run schema:emit`.

/** An entry of the error catalogue, as `upscaleErrors` returns it. */
interface CatalogueEntry {
  readonly code: UpscaleErrorCode
  /** The upstream's code; null: it has none. */
  readonly upstreamCode: number | null
  /** What happened, for people: the `message` of a problem. */
  readonly description: string
  readonly retryable: boolean
  readonly retryAfterMs: number | null
  /** Whether a refusal with this code proves that nothing was charged. */
  readonly nothingCharged: boolean
  /** Whether a refusal with this code lets a submit with `queue: true` wait in the queue. */
  readonly isOutage: boolean
}

/** A refusal by a proxy or CDN in front of the upstream. */
interface StatusRefusal {
  readonly code: UpscaleErrorCode
  /** Whether a submit with `queue: true` waits in the queue. */
  readonly isTemporary: boolean
}

export const CATALOGUE: readonly CatalogueEntry[] = [
  {
    code: 'UPSTREAM_BAD_REQUEST',
    upstreamCode: 400,
    description: 'The upscale service says that the request has invalid parameters.',
    retryable: false,
    retryAfterMs: null,
    nothingCharged: false,
    isOutage: false,
  },
  {
    code: 'UPSTREAM_UNAUTHORIZED',
    upstreamCode: 401,
    description:
      "The upscale service does not accept the gateway's own API key. The operator has to renew it.",
    retryable: false,
    retryAfterMs: null,
    nothingCharged: false,
    isOutage: false,
  },
  {
    code: 'INSUFFICIENT_CREDITS',
    upstreamCode: 402,
    description: 'The account has too few credits for an upscale. The operator has to top it up.',
    retryable: false,
    retryAfterMs: null,
    nothingCharged: false,
    isOutage: false,
  },
  {
    code: 'UPSTREAM_NOT_FOUND',
    upstreamCode: 404,
    description:
      'The upscale service does not know the source task or the endpoint, or no longer knows the upscale that it accepted.',
    retryable: false,
    retryAfterMs: null,
    nothingCharged: false,
    isOutage: false,
  },
  {
    code: 'UPSTREAM_VALIDATION_FAILED',
    upstreamCode: 422,
    description: 'The upscale service refuses this picture or these values (validation or moderation).',
    retryable: false,
    retryAfterMs: null,
    nothingCharged: false,
    isOutage: false,
  },
  {
    code: 'UPSTREAM_RATE_LIMITED',
    upstreamCode: 429,
    description: 'The upscale service is taking no more requests at the moment. Try again shortly.',
    retryable: true,
    retryAfterMs: 10000,
    nothingCharged: true,
    isOutage: true,
  },
  {
    code: 'UPSTREAM_MAINTENANCE',
    upstreamCode: 455,
    description: 'The upscale service is down for maintenance. Try again later.',
    retryable: true,
    retryAfterMs: 60000,
    nothingCharged: true,
    isOutage: true,
  },
  {
    code: 'UPSTREAM_SERVER_ERROR',
    upstreamCode: 500,
    description: 'The upscale service had an internal error. Try again shortly.',
    retryable: true,
    retryAfterMs: 5000,
    nothingCharged: true,
    isOutage: false,
  },
  {
    code: 'GENERATION_FAILED',
    upstreamCode: 501,
    description: 'The picture could not be upscaled. It can be tried as a new task.',
    retryable: true,
    retryAfterMs: 0,
    nothingCharged: true,
    isOutage: false,
  },
  {
    code: 'FEATURE_DISABLED',
    upstreamCode: 505,
    description: 'Upscaling is switched off for this account or by the vendor.',
    retryable: false,
    retryAfterMs: null,
    nothingCharged: false,
    isOutage: false,
  },
  {
    code: 'UPSTREAM_TIMEOUT',
    upstreamCode: 408,
    description:
      'The upscale service found no result within its own time limit. It can be tried as a new task.',
    retryable: true,
    retryAfterMs: 0,
    nothingCharged: true,
    isOutage: false,
  },
  {
    code: 'KEY_QUOTA_EXCEEDED',
    upstreamCode: 433,
    description: "The quota of the gateway's own API key is used up. The operator has to raise it.",
    retryable: false,
    retryAfterMs: null,
    nothingCharged: true,
    isOutage: false,
  },
  {
    code: 'UPSTREAM_PROTOCOL_ERROR',
    upstreamCode: null,
    description:
      'The upscale service refused or failed the task with a code that is not part of its contract.',
    retryable: false,
    retryAfterMs: null,
    nothingCharged: false,
    isOutage: false,
  },
  {
    code: 'UPSTREAM_UNREACHABLE',
    upstreamCode: null,
    description: 'The upscale service could not be reached; nothing was sent. Try again shortly.',
    retryable: true,
    retryAfterMs: 5000,
    nothingCharged: true,
    isOutage: true,
  },
  {
    code: 'NOT_SENT',
    upstreamCode: null,
    description: 'The gateway could not store the task safely, so it sent nothing. Try again shortly.',
    retryable: true,
    retryAfterMs: 5000,
    nothingCharged: true,
    isOutage: false,
  },
  {
    code: 'CANCELLED',
    upstreamCode: null,
    description: 'The task was canceled before it was sent; nothing was charged.',
    retryable: false,
    retryAfterMs: null,
    nothingCharged: true,
    isOutage: false,
  },
  {
    code: 'UPSTREAM_OUTCOME_UNKNOWN',
    upstreamCode: null,
    description:
      'The request was sent, but no usable answer and no result came in time. It may have been charged.',
    retryable: false,
    retryAfterMs: null,
    nothingCharged: false,
    isOutage: false,
  },
  {
    code: 'SETTLEMENT_TIMEOUT',
    upstreamCode: null,
    description:
      'The upscale service accepted the task but gave no result in time. It was charged; a late result still counts.',
    retryable: false,
    retryAfterMs: null,
    nothingCharged: false,
    isOutage: false,
  },
  {
    code: 'IDEMPOTENCY_KEY_REUSED',
    upstreamCode: null,
    description:
      'This idempotency key was used with other arguments before. Use a new key for a new request.',
    retryable: false,
    retryAfterMs: null,
    nothingCharged: false,
    isOutage: false,
  },
  {
    code: 'RATE_LIMITED',
    upstreamCode: null,
    description: 'You have sent too many requests. Try again shortly.',
    retryable: true,
    retryAfterMs: 10000,
    nothingCharged: true,
    isOutage: false,
  },
]

/** The stable code of a failure. */
export type UpscaleErrorCode =
  | 'UPSTREAM_BAD_REQUEST'
  | 'UPSTREAM_UNAUTHORIZED'
  | 'INSUFFICIENT_CREDITS'
  | 'UPSTREAM_NOT_FOUND'
  | 'UPSTREAM_VALIDATION_FAILED'
  | 'UPSTREAM_RATE_LIMITED'
  | 'UPSTREAM_MAINTENANCE'
  | 'UPSTREAM_SERVER_ERROR'
  | 'GENERATION_FAILED'
  | 'FEATURE_DISABLED'
  | 'UPSTREAM_TIMEOUT'
  | 'KEY_QUOTA_EXCEEDED'
  | 'UPSTREAM_PROTOCOL_ERROR'
  | 'UPSTREAM_UNREACHABLE'
  | 'NOT_SENT'
  | 'CANCELLED'
  | 'UPSTREAM_OUTCOME_UNKNOWN'
  | 'SETTLEMENT_TIMEOUT'
  | 'IDEMPOTENCY_KEY_REUSED'
  | 'RATE_LIMITED'

/** The refusals without an envelope, by HTTP status. After any other status the outcome is unknown. */
export const REFUSAL_BY_STATUS: Readonly<Record<number, StatusRefusal>> = {
  '401': { code: 'UPSTREAM_UNAUTHORIZED', isTemporary: false },
  '402': { code: 'INSUFFICIENT_CREDITS', isTemporary: false },
  '403': { code: 'UPSTREAM_PROTOCOL_ERROR', isTemporary: false },
  '404': { code: 'UPSTREAM_NOT_FOUND', isTemporary: false },
  '405': { code: 'UPSTREAM_PROTOCOL_ERROR', isTemporary: false },
  '407': { code: 'UPSTREAM_UNREACHABLE', isTemporary: true },
  '411': { code: 'UPSTREAM_PROTOCOL_ERROR', isTemporary: false },
  '413': { code: 'UPSTREAM_PROTOCOL_ERROR', isTemporary: false },
  '414': { code: 'UPSTREAM_PROTOCOL_ERROR', isTemporary: false },
  '415': { code: 'UPSTREAM_PROTOCOL_ERROR', isTemporary: false },
  '417': { code: 'UPSTREAM_PROTOCOL_ERROR', isTemporary: false },
  '421': { code: 'UPSTREAM_PROTOCOL_ERROR', isTemporary: false },
  '426': { code: 'UPSTREAM_PROTOCOL_ERROR', isTemporary: false },
  '429': { code: 'UPSTREAM_RATE_LIMITED', isTemporary: true },
  '431': { code: 'UPSTREAM_PROTOCOL_ERROR', isTemporary: false },
  '503': { code: 'UPSTREAM_MAINTENANCE', isTemporary: false },
  '511': { code: 'UPSTREAM_UNREACHABLE', isTemporary: true },
  '521': { code: 'UPSTREAM_UNREACHABLE', isTemporary: true },
  '522': { code: 'UPSTREAM_UNREACHABLE', isTemporary: false },
  '523': { code: 'UPSTREAM_UNREACHABLE', isTemporary: true },
  '525': { code: 'UPSTREAM_UNREACHABLE', isTemporary: true },
  '526': { code: 'UPSTREAM_UNREACHABLE', isTemporary: true },
  '530': { code: 'UPSTREAM_UNREACHABLE', isTemporary: true },
}

/** The error SERVICE_UNAVAILABLE. */
export const UNAVAILABLE = {
  message: 'The service is unavailable at the moment: retry.',
  retryable: true,
  retryAfterMs: 2000,
} as const

/** The message of TASK_NOT_FOUND. */
export const TASK_NOT_FOUND = 'No task of yours has this id.'
