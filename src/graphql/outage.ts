import type { FormattedExecutionResult } from 'graphql'

/** The status and headers of a result that has no data because the store is unavailable. */
interface OutageHead {
  readonly status: 503
  readonly headers: Readonly<Record<string, string>>
}

/**
 * Undefined unless every root field is null and every error is SERVICE_UNAVAILABLE: a result with partial
 * data keeps its status.
 */
export function toOutageHead({ data, errors = [] }: FormattedExecutionResult): OutageHead | undefined {
  const hasData = Object.values(data ?? {}).some((value) => value !== null)
  const isOutage = errors.every(({ extensions }) => extensions?.code === 'SERVICE_UNAVAILABLE')
  if (hasData || errors.length === 0 || !isOutage) return undefined
  const waits = errors.map(({ extensions }) => extensions?.retryAfterMs)
  const waitMs = Math.max(...waits.map((wait) => (typeof wait === 'number' ? wait : 0)))
  // A submit that may have been charged must not be repeated automatically.
  const isRetryable = errors.every(({ extensions }) => extensions?.retryable === true)
  return { status: 503, headers: isRetryable ? { 'retry-after': String(Math.ceil(waitMs / 1_000)) } : {} }
}
