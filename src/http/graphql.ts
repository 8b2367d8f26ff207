import { randomUUID } from 'node:crypto'
import { ApolloServer, HeaderMap, type ApolloServerPlugin, type GraphQLRequest } from '@apollo/server'
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginInlineTraceDisabled,
  ApolloServerPluginLandingPageDisabled,
  ApolloServerPluginUsageReportingDisabled,
} from '@apollo/server/plugin/disabled'
import { fastifyApolloHandler } from '@as-integrations/fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import {
  GraphQLError,
  OperationTypeNode,
  parse,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql'
import type { CreateContext, OperationContext } from '../graphql/context.ts'
import { requestError, toHttpStatus, toPublicError, withCode } from '../graphql/errors.ts'
import type { Prepare } from '../graphql/prepare.ts'
import type { Outbound } from '../net/outbound.ts'
import type { Log } from '../tasks/ports.ts'
import { PAGE_POLICY, renderPage } from './graphiql-page.ts'
import type { HttpAuthorization } from './http-authorization.ts'
import type { HttpStreams } from './http-streams.ts'
import { createSubscriptionCallbacks, type SubscriptionCallbacks } from './router-callbacks.ts'

export interface GraphqlRoute {
  readonly schema: GraphQLSchema
  readonly prepare: Prepare
  readonly log: Log
  readonly graphiql: boolean
  readonly createContext: CreateContext
  readonly authorization: HttpAuthorization
  readonly streams: HttpStreams
  /** Where routers take the events of subscriptions; none: nowhere. */
  readonly subscriptionCallbackUrls: readonly string[]
  /** How routers are reached. */
  readonly routers: Outbound
}

/** GraphQL over HTTP at `/graphql`: Apollo Server; and GraphiQL for browsers, where it is enabled. */
export async function addGraphqlRoute(
  app: FastifyInstance,
  {
    schema,
    prepare,
    log,
    graphiql,
    createContext,
    authorization,
    streams,
    subscriptionCallbackUrls,
    routers,
  }: GraphqlRoute,
): Promise<AsyncDisposable> {
  const callbacks = createSubscriptionCallbacks(subscriptionCallbackUrls, routers, log)
  const apollo = new ApolloServer<OperationContext>({
    schema,
    // Whatever limits an operation is in `prepare`: Apollo's own switches do not reach the socket.
    introspection: true,
    documentStore: null,
    csrfPrevention: true,
    includeStacktraceInErrorResponses: false,
    stopOnTerminationSignals: false,
    nodeEnv: 'production',
    formatError: (_formatted, error) => formatError(error, log),
    plugins: [
      usePrepare(prepare, callbacks, authorization, log),
      callbacks.plugin,
      ApolloServerPluginLandingPageDisabled(),
      ApolloServerPluginCacheControlDisabled(),
      ApolloServerPluginInlineTraceDisabled(),
      ApolloServerPluginUsageReportingDisabled(),
    ],
  })
  await apollo.start()
  const handle = fastifyApolloHandler(apollo, {
    context(request) {
      const identity = authorization.identity(request)
      const { owner, operator } = identity
      const stream = streams.transport(identity)
      return Promise.resolve(createContext({ owner, operator, stream }, request.id))
    },
  })
  let page: Promise<Buffer> | undefined
  // A router that posts events back may bring no token of its own: then the operation must bring one.
  const enter = subscriptionCallbackUrls.length > 0 ? authorization.allowGuests : authorization.requireToken
  app.post('/graphql', { onRequest: enter }, handle)
  // The page is for everyone: what it then asks is not.
  const wantsPage = ({ headers }: FastifyRequest) => graphiql && headers.accept?.includes('text/html')
  const identifyUnlessPage = (request: FastifyRequest, reply: FastifyReply) =>
    wantsPage(request) ? Promise.resolve(undefined) : authorization.requireToken(request, reply)
  app.get('/graphql', { onRequest: identifyUnlessPage }, function (request, reply) {
    if (!wantsPage(request)) return handle.call(this, request, reply)
    // One shared buffer: the page has megabytes, and a string would be encoded again for each answer.
    page ??= renderPage().then(Buffer.from)
    reply.type('text/html; charset=utf-8').header('content-security-policy', PAGE_POLICY)
    return page
  })
  return { [Symbol.asyncDispose]: () => apollo.stop() }
}

/** Stands in for a document that was refused: it is never executed. */
const REFUSED = parse('{ __typename }')

/**
 * Puts `prepare` in the place of Apollo's own parsing and validation, which Apollo leaves out for a document
 * that is there already. What `prepare` refuses is answered with its errors before anything is executed.
 */
function usePrepare(
  prepare: Prepare,
  callbacks: SubscriptionCallbacks,
  authorization: HttpAuthorization,
  log: Log,
): ApolloServerPlugin<OperationContext> {
  return {
    requestDidStart() {
      let refusals: readonly GraphQLError[] = []
      return Promise.resolve({
        didResolveSource(request) {
          const document = prepare.document(request.source)
          if (!document.ok) refusals = document.errors
          Object.assign(request, { document: document.ok ? document.value : REFUSED })
          return Promise.resolve()
        },
        didResolveOperation({ document, request, contextValue }) {
          if (refusals.length > 0) return Promise.resolve()
          const operation = prepare.operation(
            document,
            request.operationName,
            request.variables,
            contextValue,
          )
          if (!operation.ok) refusals = operation.errors
          else {
            const fault = findSubscriptionFault(operation.value, callbacks, request)
            if (fault) refusals = [fault]
          }
          return Promise.resolve()
        },
        responseForOperation({ contextValue: { correlationId, owner } }) {
          const [refusal] = refusals
          if (refusal === undefined) return Promise.resolve(null)
          if (owner === null && refusal.extensions.code === 'UNAUTHENTICATED')
            authorization.reportGuest(correlationId)
          const errors = refusals.map((error) => toPublicError(error, correlationId, log))
          return Promise.resolve({
            http: { status: toHttpStatus(refusal) ?? 400, headers: new HeaderMap() },
            body: { kind: 'single' as const, singleResult: { errors } },
          })
        },
        didEncounterErrors({ errors, contextValue }) {
          for (const { extensions } of errors) extensions.correlationId ??= contextValue.correlationId
          return Promise.resolve()
        },
      })
    },
  }
}

/** Why a subscription cannot run here, or another operation not as one; undefined: it can. */
function findSubscriptionFault(
  { operation }: OperationDefinitionNode,
  callbacks: SubscriptionCallbacks,
  request: GraphQLRequest,
): GraphQLError | undefined {
  const isSubscription = operation === OperationTypeNode.SUBSCRIPTION
  if (callbacks.isCallback(request))
    return isSubscription
      ? callbacks.findFault(request)
      : requestError('BAD_REQUEST', 'Only of a subscription can events be posted.')
  if (!isSubscription) return undefined
  return requestError(
    'BAD_REQUEST',
    'Subscriptions run over WebSocket (graphql-transport-ws) at this path, or as server-sent events at /graphql/stream.',
  )
}

function formatError(error: unknown, log: Log) {
  const graphqlError =
    error instanceof GraphQLError ? error : new GraphQLError('', { originalError: error as Error })
  const { correlationId } = graphqlError.extensions
  const id = typeof correlationId === 'string' ? correlationId : randomUUID()
  return toPublicError(
    isRefusal(graphqlError) ? withCode('BAD_REQUEST', graphqlError) : graphqlError,
    id,
    log,
  )
}

/** Apollo Server gives some of its own refusals (of persisted queries) an HTTP status, but no code. */
function isRefusal(error: GraphQLError): boolean {
  return error.extensions.code === undefined && toHttpStatus(error) === 400
}
