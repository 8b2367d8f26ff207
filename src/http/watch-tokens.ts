import { hkdfSync } from 'node:crypto'
import { errors, jwtVerify, SignJWT, type JWTPayload } from 'jose'
import type { WatchTokens } from '../graphql/context.ts'
import type { Clock } from '../tasks/ports.ts'

export interface WatchTokenOptions {
  /** The first signs, all verify: so that one can be replaced while tokens made with it are about. */
  readonly secrets: readonly string[]
  /** How long a token is good. */
  readonly lifetimeMs: number
  readonly clock: Clock
}

/** Explicit typing (RFC 8725 §3.11): no other kind of token is taken for this one. */
const TYPE = 'upscale-watch+jwt'
const ALGORITHM = 'HS256'

/**
 * Watch tokens as JWTs, whose subject is the task. The key is derived for this use alone (HKDF, RFC 5869): a
 * secret that signs bearer tokens, too, makes no watch token that anything else would accept.
 */
export function createWatchTokens({ secrets, lifetimeMs, clock }: WatchTokenOptions): WatchTokens | null {
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
    async read(token) {
      for (const key of keys) {
        const { sub, exp } = await verify(token, key, clock)
        if (sub !== undefined && exp !== undefined) return { taskId: sub, expiresAt: exp * 1_000 }
      }
      return undefined
    },
  }
}

/** What a token says; nothing when it is not good. */
async function verify(token: string, key: Uint8Array, clock: Clock): Promise<JWTPayload> {
  try {
    const currentDate = new Date(clock.now())
    const { payload } = await jwtVerify(token, key, { algorithms: [ALGORITHM], typ: TYPE, currentDate })
    return payload
  } catch (error) {
    if (error instanceof errors.JOSEError) return {}
    throw error
  }
}
