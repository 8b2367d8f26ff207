import { createRemoteJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose'

/** How callers prove who they are. */
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
  /** When this proof ends, in Unix milliseconds; null: never. */
  readonly expiresAt: number | null
}

export const ANONYMOUS: Identity = { owner: 'anonymous', operator: true, expiresAt: null }
export const GUEST: Identity = { owner: null, operator: false, expiresAt: null }

/** The token is missing or not good. Says no more than that. */
export class UnauthenticatedError extends Error {
  override name = 'UnauthenticatedError'
}

/** Nobody can tell just now whether a token is good: the keys cannot be fetched. */
export class AuthUnavailableError extends Error {
  override name = 'AuthUnavailableError'
}

/**
 * Says who is calling from an `Authorization` value (`Bearer …`, RFC 6750).
 * Rejects with UnauthenticatedError or AuthUnavailableError; nobody is let in on any other way.
 */
export type Authenticate = (authorization: unknown) => Promise<Identity>

const OPERATOR_SCOPE = 'upscale:operate'
/** Clocks may differ by this much when a token is verified. It does not lengthen a session. */
const LEEWAY_S = 5
/** No real token is longer. */
const MAX_TOKEN_LENGTH = 8_192
/** Public keys only verify what was signed with their own kind of algorithm. */
const ASYMMETRIC = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']

export function createAuthenticate(policy: AuthPolicy): Authenticate {
  if (policy.mode === 'none') return () => Promise.resolve(ANONYMOUS)
  const { keys, issuer, audience } = policy
  const options = {
    algorithms: 'secret' in keys ? ['HS256'] : ASYMMETRIC,
    clockTolerance: LEEWAY_S,
    requiredClaims: ['sub'],
    ...(issuer !== null && { issuer }),
    ...(audience !== null && { audience }),
  }
  const getKey = toKeySource(keys)
  return async (authorization) => {
    const token = parseBearer(authorization)
    try {
      const { payload } = await jwtVerify(token, getKey, options)
      return toIdentity(payload)
    } catch (error) {
      if (error instanceof UnauthenticatedError) throw error
      const unavailable = !(error instanceof errors.JOSEError) || isFetchError(error)
      throw unavailable
        ? new AuthUnavailableError('The keys cannot be fetched', { cause: error })
        : new UnauthenticatedError('The token is not good', { cause: error })
    }
  }
}

function toKeySource(keys: { jwksUrl: string } | { secret: string }): JWTVerifyGetKey {
  if ('jwksUrl' in keys) {
    // A key that is not known is looked for again, but not more often than once in the cool-down.
    const times = { timeoutDuration: 5_000, cooldownDuration: 1_000, cacheMaxAge: 300_000 }
    return createRemoteJWKSet(new URL(keys.jwksUrl), times)
  }
  const secret = new TextEncoder().encode(keys.secret)
  return () => secret
}

/** jose reports an answer that is no key set, and a time-out, as errors of its own. */
function isFetchError({ code }: errors.JOSEError): boolean {
  return code === 'ERR_JWKS_TIMEOUT' || code === 'ERR_JWKS_INVALID' || code === 'ERR_JOSE_GENERIC'
}

function parseBearer(authorization: unknown): string {
  const [, token = ''] =
    typeof authorization === 'string' ? (/^Bearer +(\S+)$/i.exec(authorization) ?? []) : []
  if (token === '' || token.length > MAX_TOKEN_LENGTH)
    throw new UnauthenticatedError('There is no bearer token')
  return token
}

function toIdentity({ sub, exp, scope, scp }: JWTPayload): Identity {
  // With a NUL it could not be stored.
  if (typeof sub !== 'string' || sub === '' || sub.includes('\0'))
    throw new UnauthenticatedError('The token has no subject')
  const scopes = [scope, scp].flatMap((value) => (typeof value === 'string' ? value.split(' ') : value))
  return {
    owner: sub,
    operator: scopes.includes(OPERATOR_SCOPE),
    expiresAt: exp === undefined ? null : exp * 1_000,
  }
}
