import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Log } from '../tasks/ports.ts'
import {
  AuthUnavailableError,
  GUEST,
  UnauthenticatedError,
  type Authenticate,
  type Identity,
} from './auth.ts'
import { sendError } from './http-errors.ts'

/** Where every GraphQL request over HTTP is let in, or not. */
export interface Door {
  /** Finds out who is calling, or answers for the route. */
  enter(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined>
  /** As `enter`, but who brings no token at all is let in as a guest. */
  enterAsGuest(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined>
  /** Who was let in with this request. */
  identity(request: FastifyRequest): Identity
  /** Answers a request that needs a token and has no good one. */
  refuse(request: FastifyRequest, reply: FastifyReply): FastifyReply
}

export interface DoorOptions {
  readonly authenticate: Authenticate
  readonly log: Log
  isDraining(): boolean
}

export function createDoor({ authenticate, log, isDraining }: DoorOptions): Door {
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
    try {
      identities.set(request, await authenticate(authorization))
      return undefined
    } catch (error) {
      if (error instanceof UnauthenticatedError) {
        if (!guests || authorization !== undefined) return refuse(request, reply)
        identities.set(request, GUEST)
        return undefined
      }
      if (!(error instanceof AuthUnavailableError)) throw error
      log.warn({ err: error, correlationId: request.id }, 'a token could not be verified')
      const message = 'Tokens cannot be verified at the moment.'
      return sendError(request, reply.header('retry-after', '5'), 503, message, log, 'AUTH_UNAVAILABLE')
    }
  }
  return {
    enter: (request, reply) => enter(request, reply, false),
    enterAsGuest: (request, reply) => enter(request, reply, true),
    identity(request) {
      const identity = identities.get(request)
      if (identity === undefined) throw new Error('Nobody was let in')
      return identity
    },
    refuse,
  }
}
