import { makeServer } from 'graphql-ws'
import type { ExecutionArgs } from 'graphql'
import type { OperationContext } from '../graphql/context.ts'
import { toPublicError } from '../graphql/errors.ts'
import type { Log } from '../tasks/ports.ts'
import type { AcceptedArgs, SocketOperations } from './socket-operations.ts'
import type { SocketSession } from './socket-session.ts'
import type { SocketWire } from './socket-wire.ts'

/** What belongs to one socket. */
export interface SocketParts {
  readonly wire: SocketWire
  readonly session: SocketSession
  readonly operations: SocketOperations
  /** The Authorization header of the upgrade request. */
  readonly authorization: string | undefined
}

export type Protocol = ReturnType<typeof createProtocol>

/** graphql-transport-ws by graphql-ws: the session authenticates, and SocketOperations decides what may run. */
export function createProtocol(log: Log) {
  const run = (args: ExecutionArgs) => (args as AcceptedArgs).run()
  return makeServer<Record<string, unknown>, SocketParts>({
    // The session has a timer of its own.
    connectionInitWaitTimeout: 0,
    onConnect({ connectionParams = {}, extra: { session, authorization } }) {
      const { watchToken } = connectionParams
      return session.open({ authorization: readAuthorization(connectionParams) ?? authorization, watchToken })
    },
    async onPing({ extra: { wire, session } }, payload) {
      const authorization = readAuthorization(payload ?? {})
      // One verification at a time, so that a client cannot start many at once.
      if (authorization !== undefined) await wire.hold(session.extend(authorization))
    },
    onSubscribe: ({ extra: { operations, session } }, id, payload) =>
      operations.accept(id, payload, session.caller),
    execute: run,
    subscribe: run,
    onNext(_context, _id, _payload, { contextValue }, { errors, data }) {
      if (!errors) return undefined
      const { correlationId } = contextValue as OperationContext
      const formatted = errors.map((error) => toPublicError(error, correlationId, log))
      return data === undefined ? { errors: formatted } : { errors: formatted, data }
    },
    onError: ({ extra: { operations } }, id, _payload, errors) => operations.formatErrors(id, errors),
  })
}

/** A token in a payload, under either spelling of the header's name; routers without a token send an empty one. */
function readAuthorization({ Authorization, authorization }: Record<string, unknown>): unknown {
  return [Authorization, authorization].find((value) => value != null && value !== '')
}
