import { hkdfSync } from 'node:crypto'
import { errors, SignJWT, type JWTVerifyOptions } from 'jose'
import type { WatchTokens } from '../graphql/context.ts'
import type { Clock } from '../tasks/ports.ts'
import { MAX_TOKEN_LENGTH } from './authenticate.ts'
import { toRefusalReason, type AuthRefusals, type RefusalReason } from './auth-refusals.ts'
import { verifyToken } from './verify-token.ts'

interface WatchTokenOptions {
  /** The first signs, all verify: a secret can be replaced while its tokens are in use. */
  readonly secrets: readonly string[]
  /** How long a token is valid. */
  readonly lifetimeMs: number
  readonly clock: Clock
  readonly refusals: AuthRefusals
}

/** Explicit typing (RFC 8725 §3.11): no other kind of token is accepted as a watch token. */
const TYPE = 'upscale-watch+jwt'
const ALGORITHM = 'HS256'

/**
 * Watch tokens are JWTs whose subject is the task. Their key is derived for this use (HKDF, RFC 5869), so
 * that nothing else accepts one, even if bearer tokens are signed with the same secret. Null without secrets.
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
    async read(token, taskId) {
      const options = { algorithms: [ALGORITHM], typ: TYPE, currentDate: new Date(clock.now()) }
      const subject = taskId !== undefined && { subject: taskId }
      const verified = await verify(token, keys, { ...options, ...subject })
      if (typeof verified !== 'string') return verified
      refusals.report({ credential: 'watch', reason: verified })
      return undefined
    },
  }
}

/** The facts of a token, or why it is refused. */
async function verify(
  token: string,
  keys: readonly Uint8Array[],
  options: JWTVerifyOptions,
): Promise<{ taskId: string; expiresAt: number } | RefusalReason> {
  if (token.length > MAX_TOKEN_LENGTH) return 'too_long'
  try {
    const { sub, exp } = await verifyToken(
      token,
      keys.map((key) => () => key),
      options,
    )
    return sub === undefined || exp === undefined ? 'malformed' : { taskId: sub, expiresAt: exp * 1_000 }
  } catch (error) {
    if (!(error instanceof errors.JOSEError)) throw error
    return toRefusalReason(error)
  }
}
