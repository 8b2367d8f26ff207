import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Log } from '../tasks/ports.ts'
import { GUEST, type Authenticate, type Identity } from './authenticate.ts'
import { UnauthenticatedError, type AuthRefusals } from './auth-refusals.ts'
import { sendError } from './http-errors.ts'

/** Where every GraphQL request over HTTP is let in, or not. */
export interface Door {
  /** Finds out who is calling, or answers for the route. */
  enter(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined>
  /** As `enter`, but who brings no token at all is let in as a guest. */
  enterAsGuest(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined>
  /** Who was let in with this request. */
  identity(request: FastifyRequest): Identity
  /** Refuses a guest whose request needs a bearer token. */
  refuse(request: FastifyRequest, reply: FastifyReply): FastifyReply
  /** Counts and logs a guest's request that needs a bearer token, without answering it. */
  reportGuest(correlationId: string): void
}

export interface DoorOptions {
  readonly authenticate: Authenticate
  readonly refusals: AuthRefusals
  readonly log: Log
  isDraining(): boolean
}

export function createDoor({ authenticate, refusals, log, isDraining }: DoorOptions): Door {
  const identities = new WeakMap<FastifyRequest, Identity>()

  const refuse = (request: FastifyRequest, reply: FastifyReply) => {
    const message = 'A valid bearer token is required.'
    return sendError(
      request,
      reply.header('www-authenticate', 'Bearer'),
      401,
      message,
      log,
      'UNAUTHENTICATED',
    )
  }
  const enter = async (request: FastifyRequest, reply: FastifyReply, guests: boolean) => {
    // Do not start paid work while draining.
    if (isDraining()) return sendError(request, reply, 503, 'The service is stopping; ask another.', log)
    // Routers send an empty header for none.
    const { authorization: given } = request.headers
    const authorization = given === '' ? undefined : given
    const options = { correlationId: request.id, ...(guests && { guest: () => Promise.resolve(GUEST) }) }
    try {
      identities.set(request, await authenticate(authorization, options))
      return undefined
    } catch (error) {
      if (error instanceof UnauthenticatedError) return refuse(request, reply)
      const message = 'Tokens cannot be verified at the moment.'
      return sendError(request, reply.header('retry-after', '5'), 503, message, log, 'AUTH_UNAVAILABLE')
    }
  }
  const reportGuest = (correlationId: string) =>
    refusals.report({ credential: 'bearer', reason: 'missing_token', correlationId })
  return {
    enter: (request, reply) => enter(request, reply, false),
    enterAsGuest: (request, reply) => enter(request, reply, true),
    identity(request) {
      const identity = identities.get(request)
      if (identity === undefined) throw new Error('Nobody was let in')
      return identity
    },
    refuse(request, reply) {
      reportGuest(request.id)
      return refuse(request, reply)
    },
    reportGuest,
  }
}
