/**
 * Every way an upscale can fail. A new code of kie.ai is one entry in CATALOGUE: parsing, the GraphQL error,
 * `problem` and the delivery read it; `npm run schema:emit` adds it to the schema and the documentation. The
 * codes.ts of each other dialect maps the codes of its upstream to these.
 *
 * Other lists of codes:
 * - TASK_FAILURES (upstream/kie-midjourney/wire.ts): the envelope codes of record-info that end a task
 * - NOT_RUN (upstream/submit-rule.ts): HTTP statuses that are a refusal without an envelope
 * - UNAVAILABLE (upstream/submit-rule.ts): refusals after which a task may move on to the next engine
 * - OUTAGES (queue/refusals.ts): refusals after which a task waits in the queue
 */

interface CatalogueEntry {
  /** kie.ai's code; null if kie.ai has none, or the gateway itself detects the failure. */
  readonly upstreamCode: number | null
  /** For people: what happened, and the remedy. */
  readonly description: string
  /** Whether the same request may succeed later without being charged twice. */
  readonly retryable: boolean
  /** How long to wait before a retry, in milliseconds; null if a retry does not help. */
  readonly retryAfterMs: number | null
  /** Whether a refusal with this code at submit proves that nothing was charged. */
  readonly nothingCharged: boolean
}

// A retry must not be charged twice, so a retryable code implies that nothing was charged.
const entry = (
  upstreamCode: number | null,
  description: string,
  retryAfterMs: number | null = null,
  nothingCharged = retryAfterMs !== null,
): CatalogueEntry => ({
  upstreamCode,
  description,
  retryable: retryAfterMs !== null,
  retryAfterMs,
  nothingCharged,
})

/** One entry per code, not per range, because 455, 501 and 505 do not have their HTTP meanings. */
export const CATALOGUE = {
  UPSTREAM_BAD_REQUEST: entry(400, 'The upscale service says that the request has invalid parameters.'),
  UPSTREAM_UNAUTHORIZED: entry(
    401,
    "The upscale service does not accept the gateway's own API key. The operator has to renew it.",
  ),
  INSUFFICIENT_CREDITS: entry(
    402,
    'The account has too few credits for an upscale. The operator has to top it up.',
  ),
  UPSTREAM_NOT_FOUND: entry(
    404,
    'The upscale service does not know the source task or the endpoint, or no longer knows the upscale that it accepted.',
  ),
  UPSTREAM_VALIDATION_FAILED: entry(
    422,
    'The upscale service refuses this picture or these values (validation or moderation).',
  ),
  UPSTREAM_RATE_LIMITED: entry(
    429,
    'The upscale service is taking no more requests at the moment. Try again shortly.',
    10_000,
  ),
  UPSTREAM_MAINTENANCE: entry(455, 'The upscale service is down for maintenance. Try again later.', 60_000),
  UPSTREAM_SERVER_ERROR: entry(500, 'The upscale service had an internal error. Try again shortly.', 5_000),
  GENERATION_FAILED: entry(501, 'The picture could not be upscaled. It can be tried as a new task.', 0),
  FEATURE_DISABLED: entry(505, 'Upscaling is switched off for this account or by the vendor.'),
  UPSTREAM_TIMEOUT: entry(
    408,
    'The upscale service found no result within its own time limit. It can be tried as a new task.',
    0,
  ),
  KEY_QUOTA_EXCEEDED: entry(
    433,
    "The quota of the gateway's own API key is used up. The operator has to raise it.",
    null,
    true,
  ),
  UPSTREAM_PROTOCOL_ERROR: entry(
    null,
    'The upscale service refused or failed the task with a code that is not part of its contract.',
  ),
  UPSTREAM_UNREACHABLE: entry(
    null,
    'The upscale service could not be reached; nothing was sent. Try again shortly.',
    5_000,
  ),
  NOT_SENT: entry(
    null,
    'The gateway could not store the task safely, so it sent nothing. Try again shortly.',
    5_000,
  ),
  CANCELLED: entry(null, 'The task was canceled before it was sent; nothing was charged.', null, true),
  UPSTREAM_OUTCOME_UNKNOWN: entry(
    null,
    'The request was sent, but no usable answer and no result came in time. It may have been charged.',
  ),
  SETTLEMENT_TIMEOUT: entry(
    null,
    'The upscale service accepted the task but gave no result in time. It was charged; a late result still counts.',
  ),
  IDEMPOTENCY_KEY_REUSED: entry(
    null,
    'This idempotency key was used with other arguments before. Use a new key for a new request.',
  ),
  RATE_LIMITED: entry(null, 'You have sent too many requests. Try again shortly.', 10_000),
} as const satisfies Record<string, CatalogueEntry>

/** The stable code of a failure, the same on every transport. */
export type UpscaleErrorCode = keyof typeof CATALOGUE

/** All codes, in the catalogue's order. */
export const UPSCALE_ERROR_CODES = Object.keys(CATALOGUE) as readonly UpscaleErrorCode[]

/** A failure as it is stored on a task: the code, and the facts that the catalogue does not have. */
export interface Failure {
  readonly code: UpscaleErrorCode
  /** The code that the upstream sent; null: none. */
  readonly upstreamCode: number | null
  /** Milliseconds to wait before a retry: the upstream's own value, else the catalogue's. */
  readonly retryAfterMs: number | null
  /** Set if the answer proves that nothing was charged, although the code alone does not. */
  readonly nothingCharged?: true
  /** The id of the request in the log. */
  readonly correlationId: string
}

export type FailureCause = Omit<Failure, 'correlationId'>

/** A failure that the gateway itself detects. */
export function toFailure(code: UpscaleErrorCode, upstreamCode: number | null = null): FailureCause {
  return { code, upstreamCode, retryAfterMs: CATALOGUE[code].retryAfterMs }
}

const codeByUpstreamCode: ReadonlyMap<number, UpscaleErrorCode> = new Map(
  UPSCALE_ERROR_CODES.flatMap((code) => {
    const { upstreamCode } = CATALOGUE[code]
    return upstreamCode === null ? [] : [[upstreamCode, code] as const]
  }),
)

/**
 * The failure of an upstream code. A code outside the catalogue becomes a protocol error, which keeps the
 * code.
 */
export function toUpstreamFailure(upstreamCode: number): FailureCause {
  return toFailure(codeByUpstreamCode.get(upstreamCode) ?? 'UPSTREAM_PROTOCOL_ERROR', upstreamCode)
}

/** A failure as clients see it: the same keys in `problem`, in the typed GraphQL error, and in a delivery. */
export interface Problem {
  readonly code: UpscaleErrorCode
  readonly message: string
  readonly retryable: boolean
  readonly retryAfterMs: number | null
  readonly upstreamCode: number | null
  readonly taskId: string | null
  readonly correlationId: string
}

export function toProblem({ nothingCharged: _, ...failure }: Failure, taskId: string | null): Problem {
  const { description: message, retryable } = CATALOGUE[failure.code]
  return { ...failure, message, retryable, taskId }
}
