import {
  createRemoteJWKSet,
  customFetch,
  errors,
  jwtVerify,
  type JWTPayload,
  type JWTVerifyGetKey,
} from 'jose'
import type { Fetch } from '../net/fetch.ts'
import type { Log } from '../tasks/ports.ts'
import { toCauseLine, toRefusalReason, UnauthenticatedError, type AuthRefusals } from './auth-refusals.ts'

/** How callers are authenticated. */
export type AuthPolicy =
  | { readonly mode: 'none' }
  | {
      readonly mode: 'jwt'
      /** Where the keys are, or the one key (HS256). */
      readonly keys: { readonly jwksUrl: string } | { readonly secret: string }
      /** `iss` and `aud` that a token must have; null: any. */
      readonly issuer: string | null
      readonly audience: string | null
    }

/** Who is calling. */
export interface Identity {
  /** `sub`: the subject that tasks belong to; null: a guest, who may only follow tasks by their watch tokens. */
  readonly owner: string | null
  /** May see what is the operator's, such as credits. */
  readonly operator: boolean
  /** When the token expires, in Unix milliseconds; null: never. */
  readonly expiresAt: number | null
}

export const ANONYMOUS: Identity = { owner: 'anonymous', operator: true, expiresAt: null }
export const GUEST: Identity = { owner: null, operator: false, expiresAt: null }

/** No token can be verified at the moment: the keys cannot be fetched. */
export class AuthUnavailableError extends Error {
  override name = 'AuthUnavailableError'
}

/**
 * Authenticates a caller by an `Authorization` value (`Bearer …`, RFC 6750). Rejects with UnauthenticatedError or
 * AuthUnavailableError only, and has reported why.
 */
export type Authenticate = (authorization: unknown, options?: AuthenticateOptions) => Promise<Identity>

export interface AuthenticateOptions {
  /** Returns the guest for a caller without any token. If absent, or if it returns undefined, the caller is refused. */
  readonly guest?: () => Promise<Identity | undefined>
  readonly correlationId?: string
  /** The subject that the token must have; absent: any. */
  readonly owner?: string
}

export interface AuthenticateDependencies {
  readonly log: Log
  readonly refusals: AuthRefusals
  /** GETs the key set. */
  readonly fetchKeys: Fetch
}

const OPERATOR_SCOPE = 'upscale:operate'
/** Clocks may differ by this much when a token is verified. It does not lengthen a session. */
const LEEWAY_S = 5
/** Characters of a token. */
export const MAX_TOKEN_LENGTH = 8_192
/** Characters of a subject, which is part of index keys: PostgreSQL's hold 2,700 bytes. (OpenID Connect: 255.) */
const MAX_SUBJECT_LENGTH = 512
/** The last instant that a Date can hold. */
const MAX_INSTANT_MS = 8.64e15
/** Public keys only verify what was signed with their own kind of algorithm. */
const ASYMMETRIC = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']

export function createAuthenticate(
  policy: AuthPolicy,
  { log, refusals, fetchKeys }: AuthenticateDependencies,
): Authenticate {
  if (policy.mode === 'none') return () => Promise.resolve(ANONYMOUS)
  const verify = createVerify(policy, fetchKeys)
  const host = 'jwksUrl' in policy.keys ? new URL(policy.keys.jwksUrl).host : null
  let warned = false
  return async (authorization, { guest, correlationId, owner } = {}) => {
    try {
      const identity = authorization === undefined ? await guest?.() : undefined
      if (identity !== undefined) return identity
      const verified = toIdentity(await verify(parseBearer(authorization)))
      if (owner !== undefined && verified.owner !== owner) throw new UnauthenticatedError('wrong_subject')
      if (verified.expiresAt === null && !warned) {
        warned = true
        log.warn({}, 'a bearer token without exp was accepted: it never expires. Make the issuer set exp')
      }
      return verified
    } catch (error) {
      const refusal = toRefusal(error)
      if (refusal instanceof UnauthenticatedError)
        refusals.report({ credential: 'bearer', reason: refusal.reason, correlationId })
      else {
        const outage = { err: error, cause: toCauseLine(error), host }
        refusals.report({ credential: 'bearer', reason: 'keys_unavailable', correlationId, outage })
      }
      throw refusal
    }
  }
}

function createVerify({ keys, issuer, audience }: Extract<AuthPolicy, { mode: 'jwt' }>, fetchKeys: Fetch) {
  const options = {
    algorithms: 'secret' in keys ? ['HS256'] : ASYMMETRIC,
    clockTolerance: LEEWAY_S,
    requiredClaims: ['sub'],
    ...(issuer !== null && { issuer }),
    ...(audience !== null && { audience }),
  }
  const getKey = toKeySource(keys, fetchKeys)
  return async (token: string) => (await jwtVerify(token, getKey, options)).payload
}

function toKeySource(keys: { jwksUrl: string } | { secret: string }, fetchKeys: Fetch): JWTVerifyGetKey {
  if ('jwksUrl' in keys) {
    // An unknown key is looked up again, but not more often than once per cool-down.
    const times = { timeoutDuration: 5_000, cooldownDuration: 1_000, cacheMaxAge: 300_000 }
    return createRemoteJWKSet(new URL(keys.jwksUrl), { ...times, [customFetch]: requireOk(fetchKeys) })
  }
  const secret = new TextEncoder().encode(keys.secret)
  return () => secret
}

/** The library's own error for another status than 200 does not name the status. */
function requireOk(fetchKeys: Fetch): Fetch {
  return async (url, options) => {
    const response = await fetchKeys(url, options)
    if (response.status !== 200) throw new Error(`The key set is answered with status ${response.status}`)
    return response
  }
}

function toRefusal(error: unknown): UnauthenticatedError | AuthUnavailableError {
  if (error instanceof UnauthenticatedError) return error
  if (error instanceof errors.JOSEError && !KEY_SET_FAULTS.includes(error.code))
    return new UnauthenticatedError(toRefusalReason(error))
  return new AuthUnavailableError('The keys cannot be fetched', { cause: error })
}

/** jose's errors about the key set: no answer in time, invalid JSON, invalid key. */
const KEY_SET_FAULTS = ['ERR_JWKS_TIMEOUT', 'ERR_JOSE_GENERIC', 'ERR_JWKS_INVALID', 'ERR_JWK_INVALID']

function parseBearer(authorization: unknown): string {
  if (authorization === undefined || authorization === '') throw new UnauthenticatedError('missing_token')
  const [, token] = typeof authorization === 'string' ? (/^Bearer +(\S+)$/i.exec(authorization) ?? []) : []
  if (token === undefined) throw new UnauthenticatedError('malformed')
  if (token.length > MAX_TOKEN_LENGTH) throw new UnauthenticatedError('too_long')
  return token
}

function toIdentity({ sub, exp, scope, scp }: JWTPayload): Identity {
  const scopes = [scope, scp].flatMap((value) => (typeof value === 'string' ? value.split(' ') : value))
  return {
    owner: parseSubject(sub),
    operator: scopes.includes(OPERATOR_SCOPE),
    expiresAt: exp === undefined ? null : Math.min(exp * 1_000, MAX_INSTANT_MS),
  }
}

/** A subject that the database stores unchanged: it turns unpaired surrogates into U+FFFD, so subjects would collide. */
function parseSubject(sub: unknown): string {
  if (sub === undefined || sub === '') throw new UnauthenticatedError('missing_subject')
  const storable =
    typeof sub === 'string' && sub.isWellFormed() && !sub.includes('\0') && sub.length <= MAX_SUBJECT_LENGTH
  if (!storable) throw new UnauthenticatedError('bad_subject')
  return sub
}
