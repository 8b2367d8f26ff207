import { hkdfSync } from 'node:crypto'
import { errors, jwtVerify, SignJWT, type JWTVerifyOptions } from 'jose'
import type { WatchTokens } from '../graphql/context.ts'
import type { Clock } from '../tasks/ports.ts'
import { MAX_TOKEN_LENGTH } from './authenticate.ts'
import { toRefusalReason, type AuthRefusals, type RefusalReason } from './auth-refusals.ts'

export interface WatchTokenOptions {
  /** The first signs, all verify, so that a secret can be replaced while its tokens are still in use. */
  readonly secrets: readonly string[]
  /** How long a token is good. */
  readonly lifetimeMs: number
  readonly clock: Clock
  readonly refusals: AuthRefusals
}

/** Explicit typing (RFC 8725 §3.11): no other kind of token is taken for this one. */
const TYPE = 'upscale-watch+jwt'
const ALGORITHM = 'HS256'

/**
 * Watch tokens are JWTs whose subject is the task. The key is derived for this use only (HKDF, RFC 5869): a
 * secret that also signs bearer tokens makes no watch token that anything else would accept.
 */
export function createWatchTokens(options: WatchTokenOptions): WatchTokens | null {
  const { secrets, lifetimeMs, clock, refusals } = options
  const keys = secrets.map((secret) => new Uint8Array(hkdfSync('sha256', secret, '', TYPE, 32)))
  const [signingKey] = keys
  if (signingKey === undefined) return null
  return {
    create: (taskId) =>
      new SignJWT()
        .setProtectedHeader({ alg: ALGORITHM, typ: TYPE })
        .setSubject(taskId)
        .setExpirationTime(Math.floor((clock.now() + lifetimeMs) / 1_000))
        .sign(signingKey),
    async read(token, wanted) {
      const options = { algorithms: [ALGORITHM], typ: TYPE, currentDate: new Date(clock.now()) }
      const verified = await verify(token, keys, {
        ...options,
        ...(wanted !== undefined && { subject: wanted }),
      })
      if (typeof verified !== 'string') return verified
      refusals.report({ credential: 'watch', reason: verified })
      return undefined
    },
  }
}

/** What a token says, or why it is refused. */
async function verify(
  token: string,
  keys: readonly Uint8Array[],
  options: JWTVerifyOptions,
): Promise<{ taskId: string; expiresAt: number } | RefusalReason> {
  if (token.length > MAX_TOKEN_LENGTH) return 'too_long'
  for (const key of keys) {
    try {
      const { sub, exp } = (await jwtVerify(token, key, options)).payload
      return sub === undefined || exp === undefined ? 'malformed' : { taskId: sub, expiresAt: exp * 1_000 }
    } catch (error) {
      if (!(error instanceof errors.JOSEError)) throw error
      const reason = toRefusalReason(error)
      if (reason !== 'bad_signature') return reason
    }
  }
  return 'bad_signature'
}
