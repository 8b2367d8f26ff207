import { fastifyApolloHandler } from '@as-integrations/fastify'
import { AsyncLocalStorage } from 'node:async_hooks'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { CreateContext } from '../graphql/context.ts'
import type { Outbound } from '../net/outbound.ts'
import { parseTraceparent } from '../tasks/tracing.ts'
import { startApollo, type ApolloOptions } from './apollo.ts'
import { createGraphiqlPage } from './graphiql.ts'
import type { HttpStreams } from './http-streams.ts'
import type { OperationRecords, RunningOperation } from './operation-records.ts'
import { createRouterCallbacks } from './router-callbacks.ts'

interface GraphqlRoute extends Omit<ApolloOptions, 'routerCallbacks' | 'current'> {
  /** The program that renders the page of GraphiQL; null: there is no page. */
  readonly graphiqlProgram: URL | null
  readonly createContext: CreateContext
  readonly streams: HttpStreams
  readonly records: OperationRecords
  /** The URLs that are allowed for router callbacks; empty: none. */
  readonly subscriptionCallbackUrls: readonly string[]
  /** Connections to routers. */
  readonly routers: Outbound
}

/** GraphQL over HTTP at `/graphql`, by Apollo Server; and GraphiQL for browsers, if it is enabled. */
export async function addGraphqlRoute(app: FastifyInstance, route: GraphqlRoute): Promise<AsyncDisposable> {
  const { graphiqlProgram, createContext, streams, subscriptionCallbackUrls, routers, log, authorization } =
    route
  const routerCallbacks = createRouterCallbacks(subscriptionCallbackUrls, routers, log)
  const running = new AsyncLocalStorage<RunningOperation>()
  const apollo = await startApollo({ ...route, routerCallbacks, current: () => running.getStore() })
  const execute = fastifyApolloHandler(apollo, {
    context(request) {
      const identity = authorization.identity(request)
      const { owner, operator } = identity
      const stream = streams.transport(identity, 'router_callback')
      return Promise.resolve(createContext({ owner, operator, stream }, request.id, running.getStore()))
    },
  })
  const handle: typeof execute = async function (request, reply) {
    const record = route.records({
      transport: 'http',
      owner: authorization.identity(request).owner,
      correlationId: request.id,
      traceparent: parseTraceparent(request.headers.traceparent),
    })
    try {
      return await record.within(async () =>
        running.run(record, async () => execute.call(this, request, reply)),
      )
    } finally {
      record.endRequest()
    }
  }
  // A router may have no bearer token: then the subscription must have a watch token.
  const { requireToken, allowGuests } = authorization
  app.post(
    '/graphql',
    { onRequest: subscriptionCallbackUrls.length > 0 ? allowGuests : requireToken },
    handle,
  )

  // The page is public; its operations are not.
  const page = graphiqlProgram ? createGraphiqlPage(graphiqlProgram) : undefined
  const wantsPage = (request: FastifyRequest) => page?.isWanted(request) === true
  const requireTokenUnlessPage = (request: FastifyRequest, reply: FastifyReply) =>
    wantsPage(request) ? Promise.resolve(undefined) : requireToken(request, reply)
  app.get('/graphql', { onRequest: requireTokenUnlessPage }, function (request, reply) {
    return page && wantsPage(request) ? page.send(request, reply) : handle.call(this, request, reply)
  })
  return { [Symbol.asyncDispose]: () => apollo.stop() }
}
