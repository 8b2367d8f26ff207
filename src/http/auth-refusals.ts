import { errors } from 'jose'
import type { Log } from '../tasks/ports.ts'

/** Why a token is refused. The labels of a metric: few and fixed. */
export type RefusalReason =
  | 'missing_token'
  | 'malformed'
  | 'too_long'
  | 'bad_algorithm'
  | 'unknown_key'
  | 'bad_signature'
  | 'expired'
  | 'not_yet_valid'
  | 'wrong_type'
  | 'wrong_issuer'
  | 'wrong_audience'
  | 'missing_subject'
  | 'bad_subject'
  | 'wrong_subject'
  | 'keys_unavailable'

/** The token is missing or invalid. The reason is logged, but not sent to the client. */
export class UnauthenticatedError extends Error {
  override name = 'UnauthenticatedError'
  readonly reason: RefusalReason

  constructor(reason: RefusalReason) {
    super(`The token is refused: ${reason}`)
    this.reason = reason
  }
}

/** Tokens cannot be verified, because the keys are not available. */
export class AuthUnavailableError extends Error {
  override name = 'AuthUnavailableError'

  constructor(cause: unknown) {
    super('The keys are not available', { cause })
  }
}

/** Counts and logs refused tokens. */
export interface AuthRefusals {
  report(refusal: {
    readonly credential: 'bearer' | 'watch'
    readonly reason: RefusalReason
    readonly correlationId?: string | undefined
  }): void
  /** `host`: the host of the key set. */
  reportOutage(outage: {
    readonly error: unknown
    readonly host: string | null
    readonly correlationId?: string | undefined
  }): void
}

/** The limit for each reason, so that invalid tokens cannot flood the log. The metric counts all refusals. */
const LINES_PER_SECOND = 50

export function createAuthRefusals(log: Log, count: (reason: RefusalReason) => void): AuthRefusals {
  const windows = new Map<RefusalReason, { endsAt: number; lines: number; unlogged: number }>()
  /** Counts a refusal. Returns further facts for its log line; undefined: it is not logged. */
  const take = (reason: RefusalReason): { unlogged?: number } | undefined => {
    count(reason)
    const now = performance.now()
    const last = windows.get(reason)
    if (last && now < last.endsAt) {
      last.lines += 1
      if (last.lines <= LINES_PER_SECOND) return {}
      last.unlogged += 1
      return undefined
    }
    windows.set(reason, { endsAt: now + 1_000, lines: 1, unlogged: 0 })
    return last && last.unlogged > 0 ? { unlogged: last.unlogged } : {}
  }
  return {
    report(refusal) {
      const facts = take(refusal.reason)
      if (facts) log.info({ ...refusal, ...facts }, 'a token was refused')
    },
    reportOutage({ error, host, correlationId }) {
      const reason = 'keys_unavailable'
      const facts = take(reason)
      const outage = {
        credential: 'bearer',
        reason,
        correlationId,
        err: error,
        cause: toCauseLine(error),
        host,
      }
      if (facts)
        log.warn({ ...outage, ...facts }, 'cannot verify tokens: the keys of AUTH_JWKS_URL are not available')
    },
  }
}

const REASONS_BY_CODE: Readonly<Record<string, RefusalReason>> = {
  ERR_JWT_EXPIRED: 'expired',
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: 'bad_signature',
  ERR_JOSE_ALG_NOT_ALLOWED: 'bad_algorithm',
  ERR_JWKS_NO_MATCHING_KEY: 'unknown_key',
  ERR_JWKS_MULTIPLE_MATCHING_KEYS: 'unknown_key',
}
const REASONS_BY_CLAIM: Readonly<Record<string, RefusalReason>> = {
  nbf: 'not_yet_valid',
  typ: 'wrong_type',
  iss: 'wrong_issuer',
  aud: 'wrong_audience',
  sub: 'wrong_subject',
}

/** Why jose refuses a token. jose's errors contain the claims, so they are not logged. */
export function toRefusalReason(error: errors.JOSEError): RefusalReason {
  if (!(error instanceof errors.JWTClaimValidationFailed)) return REASONS_BY_CODE[error.code] ?? 'malformed'
  const { claim, reason } = error
  if (reason === 'invalid') return 'malformed'
  return claim === 'sub' && reason === 'missing'
    ? 'missing_subject'
    : (REASONS_BY_CLAIM[claim] ?? 'malformed')
}

/**
 * The messages of an error and its causes. A system error about several addresses has a code, but no message.
 */
function toCauseLine(error: unknown): string {
  const parts: string[] = []
  for (let each = error; isErrorLike(each); each = each.cause) {
    const { message, code } = each
    parts.push(typeof code !== 'string' || message.includes(code) ? message : `${message} ${code}`.trim())
  }
  return parts.join(': ')
}

/** Not `instanceof`: errors of `fetch` may be of another realm. */
function isErrorLike(value: unknown): value is { message: string; code?: unknown; cause?: unknown } {
  return (
    typeof value === 'object' && value !== null && 'message' in value && typeof value.message === 'string'
  )
}
