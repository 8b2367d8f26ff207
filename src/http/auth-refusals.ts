import { errors } from 'jose'
import type { Log } from '../tasks/ports.ts'

/** Why a token is refused: labels of a metric, so they are few and fixed. */
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

/** The token is missing or invalid. Clients do not get the reason. */
export class UnauthenticatedError extends Error {
  override name = 'UnauthenticatedError'
  readonly reason: RefusalReason

  constructor(reason: RefusalReason) {
    super(`The token is refused: ${reason}`)
    this.reason = reason
  }
}

/** Counts and logs refused tokens. */
export interface AuthRefusals {
  report(refusal: Refusal): void
}

export interface Refusal {
  readonly credential: 'bearer' | 'watch'
  readonly reason: RefusalReason
  readonly correlationId?: string | undefined
  /** The fault on the operator's side; absent if the caller is at fault. */
  readonly outage?: { readonly err: unknown; readonly cause: string; readonly host: string | null }
}

/** Lines logged per reason and second, so that bad tokens cannot flood the log. The metric counts all. */
const LINES_PER_SECOND = 50

export function createAuthRefusals(log: Log, count: (reason: RefusalReason) => void): AuthRefusals {
  const windows = new Map<RefusalReason, { endsAt: number; lines: number; unlogged: number }>()
  return {
    report({ credential, reason, correlationId, outage }) {
      count(reason)
      const now = performance.now()
      let window = windows.get(reason)
      const unlogged = window?.unlogged ?? 0
      if (window === undefined || now >= window.endsAt) {
        window = { endsAt: now + 1_000, lines: 0, unlogged: 0 }
        windows.set(reason, window)
      }
      window.lines += 1
      if (window.lines > LINES_PER_SECOND) {
        window.unlogged += 1
        return
      }
      const facts = {
        credential,
        reason,
        correlationId,
        ...(window.lines === 1 && unlogged > 0 && { unlogged }),
      }
      if (outage === undefined) log.info(facts, 'a token was refused')
      else
        log.warn({ ...facts, ...outage }, 'cannot verify tokens: the keys of AUTH_JWKS_URL are not available')
    },
  }
}

const BY_CODE: Readonly<Record<string, RefusalReason>> = {
  ERR_JWT_EXPIRED: 'expired',
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: 'bad_signature',
  ERR_JOSE_ALG_NOT_ALLOWED: 'bad_algorithm',
  ERR_JWKS_NO_MATCHING_KEY: 'unknown_key',
  ERR_JWKS_MULTIPLE_MATCHING_KEYS: 'unknown_key',
}
const BY_CLAIM: Readonly<Record<string, RefusalReason>> = {
  nbf: 'not_yet_valid',
  typ: 'wrong_type',
  iss: 'wrong_issuer',
  aud: 'wrong_audience',
  sub: 'wrong_subject',
}

/** Why jose refuses a token. Its errors hold the claims: they are never logged. */
export function toRefusalReason(error: errors.JOSEError): RefusalReason {
  if (!(error instanceof errors.JWTClaimValidationFailed)) return BY_CODE[error.code] ?? 'malformed'
  const { claim, reason } = error
  if (reason === 'invalid') return 'malformed'
  return claim === 'sub' && reason === 'missing' ? 'missing_subject' : (BY_CLAIM[claim] ?? 'malformed')
}

/** An error and its causes in one line; a system error of several addresses has no message, only a code. */
export function toCauseLine(error: unknown): string {
  const parts: string[] = []
  for (let each = error; isErrorLike(each); each = each.cause) {
    const { message, code } = each
    const known = typeof code !== 'string' || message.includes(code)
    parts.push(known ? message : `${message} ${code}`.trim())
  }
  return parts.join(': ')
}

/** Not `instanceof`: errors of `fetch` may be of another realm. */
function isErrorLike(value: unknown): value is { message: string; code?: unknown; cause?: unknown } {
  return (
    typeof value === 'object' && value !== null && 'message' in value && typeof value.message === 'string'
  )
}
