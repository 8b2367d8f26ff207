import type { WatchTokens } from '../graphql/context.ts'
import type { Fetch } from '../net/fetch.ts'
import type { Log } from '../tasks/ports.ts'
import { createAuthenticate, type JwtPolicy } from './authenticate.ts'
import { AuthUnavailableError, UnauthenticatedError, type AuthRefusals } from './auth-refusals.ts'

type AuthPolicy = { readonly mode: 'none' } | JwtPolicy

/** The identity of a caller. */
export interface Identity {
  /** The subject that tasks belong to; null: a guest, who may only follow tasks by their watch tokens. */
  readonly owner: string | null
  /** May read data of the operator, such as credits. */
  readonly operator: boolean
  /** When the token expires, in Unix milliseconds; null: never. */
  readonly expiresAt: number | null
  /** The task of the watch token that identified a guest; null: there was none. */
  readonly guestTask: string | null
}

export const ANONYMOUS: Identity = { owner: 'anonymous', operator: true, expiresAt: null, guestTask: null }
export const GUEST: Identity = { owner: null, operator: false, expiresAt: null, guestTask: null }

export interface Credentials {
  /** The value of an `Authorization` header. */
  readonly authorization: unknown
  readonly watchToken?: unknown
}

export interface AuthorizeOptions {
  /** Accepts a caller without credentials as a guest. */
  readonly allowGuests?: boolean
  /** The subject that the token must have; absent: any. */
  readonly owner?: string
  readonly correlationId?: string
}

/**
 * Identifies a caller, on all transports. Rejects with UnauthenticatedError or AuthUnavailableError, which it
 * has counted and logged. Any other error is a bug: the transport logs it and answers with an internal error.
 */
export type Authorize = (credentials: Credentials, options?: AuthorizeOptions) => Promise<Identity>

interface AuthorizeDependencies {
  readonly watchTokens: WatchTokens | null
  readonly refusals: AuthRefusals
  readonly log: Log
  /** GETs the key set. */
  readonly fetchKeys: Fetch
}

export function createAuthorize(policy: AuthPolicy, dependencies: AuthorizeDependencies): Authorize {
  if (policy.mode === 'none') return () => Promise.resolve(ANONYMOUS)
  const { watchTokens, refusals, log, fetchKeys } = dependencies
  const authenticate = createAuthenticate(policy, log, fetchKeys)
  const host = 'jwksUrl' in policy.keys ? new URL(policy.keys.jwksUrl).host : null

  const identify: Authorize = async ({ authorization, watchToken }, { allowGuests, owner } = {}) => {
    // Routers send an empty header if they have no token.
    if (authorization === undefined || authorization === '') {
      const guest = typeof watchToken === 'string' ? await watchTokens?.read(watchToken) : undefined
      if (guest) return { ...GUEST, expiresAt: guest.expiresAt, guestTask: guest.taskId }
      if (allowGuests) return GUEST
    }
    const { subject, operator, expiresAt } = await authenticate(authorization)
    if (owner !== undefined && subject !== owner) throw new UnauthenticatedError('wrong_subject')
    return { owner: subject, operator, expiresAt, guestTask: null }
  }
  return async (credentials, options) => {
    try {
      return await identify(credentials, options)
    } catch (error) {
      const correlationId = options?.correlationId
      if (error instanceof UnauthenticatedError)
        refusals.report({ credential: 'bearer', reason: error.reason, correlationId })
      else if (error instanceof AuthUnavailableError)
        refusals.reportOutage({ error: error.cause, host, correlationId })
      throw error
    }
  }
}
