import { createRemoteJWKSet, customFetch, errors, type JWTPayload, type JWTVerifyGetKey } from 'jose'
import type { Fetch } from '../net/fetch.ts'
import type { Log } from '../tasks/ports.ts'
import { AuthUnavailableError, toRefusalReason, UnauthenticatedError } from './auth-refusals.ts'
import { verifyToken } from './verify-token.ts'

/** How bearer tokens are verified. */
export interface JwtPolicy {
  readonly mode: 'jwt'
  /** The URL of the key set; or the secrets (HS256), each of which is accepted. */
  readonly keys: { readonly jwksUrl: string } | { readonly secrets: readonly string[] }
  /** The `iss` and `aud` that a token must have; null: any. */
  readonly issuer: string | null
  readonly audience: string | null
}

/** The facts of a verified bearer token. */
interface VerifiedToken {
  readonly subject: string
  readonly operator: boolean
  /** In Unix milliseconds; null: never. */
  readonly expiresAt: number | null
}

/**
 * Verifies an `Authorization` value (`Bearer …`, RFC 6750). Rejects with UnauthenticatedError, or with
 * AuthUnavailableError if the keys are not available. Any other error is a bug.
 */
type Authenticate = (authorization: unknown) => Promise<VerifiedToken>

const OPERATOR_SCOPE = 'upscale:operate'
/** The clock difference that is allowed when a token is verified. It does not lengthen a session. */
const LEEWAY_S = 5
/** In characters. */
export const MAX_TOKEN_LENGTH = 8_192
/**
 * In characters. Subjects are part of index keys, which PostgreSQL limits to 2,700 bytes. (OpenID Connect:
 * 255.)
 */
const MAX_SUBJECT_LENGTH = 512
/** The latest instant of a Date. */
const MAX_INSTANT_MS = 8.64e15
/** Without HMAC, so that no public key can be used as a secret. */
const ASYMMETRIC = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']
/**
 * jose's errors about the key set: timeout, invalid JSON, invalid key. Its other errors are about the token.
 */
const KEY_SET_ERRORS = ['ERR_JWKS_TIMEOUT', 'ERR_JOSE_GENERIC', 'ERR_JWKS_INVALID', 'ERR_JWK_INVALID']

export function createAuthenticate(
  { keys, issuer, audience }: JwtPolicy,
  log: Log,
  fetch: Fetch,
): Authenticate {
  const options = {
    algorithms: 'secrets' in keys ? ['HS256'] : ASYMMETRIC,
    clockTolerance: LEEWAY_S,
    requiredClaims: ['sub'],
    ...(issuer !== null && { issuer }),
    ...(audience !== null && { audience }),
  }
  const getKeys = 'secrets' in keys ? keys.secrets.map(toKey) : [createKeySource(keys.jwksUrl, fetch)]
  let hasWarned = false
  return async (authorization) => {
    const token = parseBearer(authorization)
    const payload = await verifyToken(token, getKeys, options).catch((error: unknown) => {
      throw toAuthError(error)
    })
    const verified = toVerifiedToken(payload)
    if (verified.expiresAt === null && !hasWarned) {
      hasWarned = true
      log.warn({}, 'a bearer token without exp was accepted: it never expires. Make the issuer set exp')
    }
    return verified
  }
}

function toKey(secret: string): JWTVerifyGetKey {
  const key = new TextEncoder().encode(secret)
  return () => key
}

function createKeySource(jwksUrl: string, fetch: Fetch): JWTVerifyGetKey {
  const getKey = createRemoteJWKSet(new URL(jwksUrl), {
    timeoutDuration: 5_000,
    // An unknown key id causes a new fetch at most once in this time.
    cooldownDuration: 1_000,
    cacheMaxAge: 300_000,
    [customFetch]: requireOk(fetch),
  })
  return (header, token) =>
    getKey(header, token).catch((error: unknown) => {
      throw error instanceof errors.JOSEError ? error : new AuthUnavailableError(error)
    })
}

/** jose's own error for a status other than 200 does not contain the status. */
function requireOk(fetch: Fetch): Fetch {
  return async (url, options) => {
    const response = await fetch(url, options)
    if (response.status !== 200) throw new Error(`The key set was answered with status ${response.status}`)
    return response
  }
}

function toAuthError(error: unknown): unknown {
  // jose throws TypeError for a key that its algorithm cannot use, such as a short RSA key.
  if (error instanceof TypeError) return new AuthUnavailableError(error)
  if (!(error instanceof errors.JOSEError)) return error
  return KEY_SET_ERRORS.includes(error.code)
    ? new AuthUnavailableError(error)
    : new UnauthenticatedError(toRefusalReason(error))
}

function parseBearer(authorization: unknown): string {
  if (authorization === undefined || authorization === '') throw new UnauthenticatedError('missing_token')
  const [, token] = typeof authorization === 'string' ? (/^Bearer +(\S+)$/i.exec(authorization) ?? []) : []
  if (token === undefined) throw new UnauthenticatedError('malformed')
  if (token.length > MAX_TOKEN_LENGTH) throw new UnauthenticatedError('too_long')
  return token
}

function toVerifiedToken({ sub, exp, scope, scp }: JWTPayload): VerifiedToken {
  const scopes = [scope, scp].flatMap((value) => (typeof value === 'string' ? value.split(' ') : value))
  return {
    subject: parseSubject(sub),
    operator: scopes.includes(OPERATOR_SCOPE),
    expiresAt: exp === undefined ? null : Math.min(exp * 1_000, MAX_INSTANT_MS),
  }
}

/**
 * Refuses subjects that the database would change (unpaired surrogates become U+FFFD): they could collide.
 */
function parseSubject(sub: unknown): string {
  if (sub === undefined || sub === '') throw new UnauthenticatedError('missing_subject')
  const isStorable =
    typeof sub === 'string' && sub.isWellFormed() && !sub.includes('\0') && sub.length <= MAX_SUBJECT_LENGTH
  if (!isStorable) throw new UnauthenticatedError('bad_subject')
  return sub
}
