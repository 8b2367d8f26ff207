import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Authorize, Identity } from './authorize.ts'
import { AuthUnavailableError, UnauthenticatedError, type AuthRefusals } from './auth-refusals.ts'
import { sendError } from './http-errors.ts'

interface HttpAuthorizationOptions {
  readonly authorize: Authorize
  readonly refusals: AuthRefusals
  isDraining(): boolean
}

type OnRequest = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply | undefined>

/** Authorizes GraphQL requests over HTTP: `requireToken` and `allowGuests` are `onRequest` hooks. */
export class HttpAuthorization {
  readonly #options: HttpAuthorizationOptions
  readonly #identities = new WeakMap<FastifyRequest, Identity>()

  constructor(options: HttpAuthorizationOptions) {
    this.#options = options
  }

  readonly requireToken: OnRequest = (request, reply) => this.#authorize(request, reply, false)

  /** Accepts a request without a token as a guest's. */
  readonly allowGuests: OnRequest = (request, reply) => this.#authorize(request, reply, true)

  /** The identity from the hook. */
  identity(request: FastifyRequest): Identity {
    const identity = this.#identities.get(request)
    if (identity === undefined) throw new Error('The request is not authorized')
    return identity
  }

  /** Refuses a guest's request that needs a bearer token. */
  refuseGuest(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    this.reportGuest(request.id)
    return this.#refuse(reply)
  }

  /** Counts and logs a guest's request that needs a bearer token. */
  reportGuest(correlationId: string): void {
    this.#options.refusals.report({ credential: 'bearer', reason: 'missing_token', correlationId })
  }

  async #authorize(
    request: FastifyRequest,
    reply: FastifyReply,
    allowGuests: boolean,
  ): Promise<FastifyReply | undefined> {
    const { authorize, isDraining } = this.#options
    // Do not start paid work while draining.
    if (isDraining()) return sendError(reply, 503, 'This replica is stopping: retry on another.')
    const { authorization } = request.headers
    try {
      const identity = await authorize({ authorization }, { allowGuests, correlationId: request.id })
      this.#identities.set(request, identity)
      return undefined
    } catch (error) {
      if (error instanceof UnauthenticatedError) return this.#refuse(reply)
      if (!(error instanceof AuthUnavailableError)) throw error
      const message = 'Tokens cannot be verified at the moment.'
      return sendError(reply, 503, message, 'AUTH_UNAVAILABLE')
    }
  }

  #refuse(reply: FastifyReply): FastifyReply {
    reply.header('www-authenticate', 'Bearer')
    return sendError(reply, 401, 'A valid bearer token is required.', 'UNAUTHENTICATED')
  }
}
