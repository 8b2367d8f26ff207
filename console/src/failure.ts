/** Why an operation failed: an error of the gateway, or of the way to it. */
export interface Failure {
  readonly code: string
  /** For people: for codes of the error catalogue, its text. */
  readonly message: string
  readonly retryable: boolean
  readonly retryAfterMs?: number | null
  /** Identifies the operation in the gateway's log. */
  readonly correlationId?: string | null
  readonly upstreamCode?: number | null
}

/** A GraphQL error as it arrives. */
export interface GraphqlError {
  readonly message: string
  readonly extensions?: Readonly<Record<string, unknown>>
}

export const NETWORK: Failure = {
  code: 'NETWORK',
  message: 'The gateway cannot be reached.',
  retryable: true,
}

export function toFailure({ message, extensions = {} }: GraphqlError): Failure {
  const { code, retryable, retryAfterMs, correlationId, upstreamCode } = extensions
  return {
    code: typeof code === 'string' ? code : 'UNKNOWN',
    message,
    retryable: retryable === true,
    retryAfterMs: typeof retryAfterMs === 'number' ? retryAfterMs : null,
    correlationId: typeof correlationId === 'string' ? correlationId : null,
    upstreamCode: typeof upstreamCode === 'number' ? upstreamCode : null,
  }
}

/** The failure of anything that was thrown, such as a FollowError. */
export function toThrownFailure(error: unknown): Failure {
  const { code, message, ...extensions } = (error ?? {}) as Record<string, unknown>
  const text = error instanceof Error ? error.message : typeof message === 'string' ? message : ''
  if (typeof code !== 'string') return text === '' ? NETWORK : { ...NETWORK, message: text }
  return toFailure({ message: text, extensions: { ...extensions, code } })
}
