import { randomUUID } from 'node:crypto'
import {
  ApolloServer,
  HeaderMap,
  type ApolloServerPlugin,
  type GraphQLRequest,
  type GraphQLRequestListener,
} from '@apollo/server'
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginInlineTraceDisabled,
  ApolloServerPluginLandingPageDisabled,
  ApolloServerPluginUsageReportingDisabled,
} from '@apollo/server/plugin/disabled'
import {
  GraphQLError,
  OperationTypeNode,
  parse,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql'
import type { OperationContext } from '../graphql/context.ts'
import { requestError, toHttpStatus, toPublicError, withCode } from '../graphql/errors.ts'
import { toOutageHead } from '../graphql/outage.ts'
import type { Prepare } from '../graphql/prepare.ts'
import type { Log } from '../tasks/ports.ts'
import type { HttpAuthorization } from './http-authorization.ts'
import type { RunningOperation } from './operation-records.ts'
import type { RouterCallbacks } from './router-callbacks.ts'

export interface ApolloOptions {
  readonly schema: GraphQLSchema
  readonly prepare: Prepare
  readonly authorization: HttpAuthorization
  readonly routerCallbacks: RouterCallbacks
  readonly log: Log
  /** The record of the running request. */
  current(): RunningOperation | undefined
}

/** Apollo Server with our checks, limits and error format. */
export async function startApollo(options: ApolloOptions): Promise<ApolloServer<OperationContext>> {
  const { schema, routerCallbacks, log, current } = options
  const apollo = new ApolloServer<OperationContext>({
    schema,
    // `prepare` limits operations: Apollo's own limits do not apply to sockets.
    introspection: true,
    documentStore: null,
    csrfPrevention: true,
    includeStacktraceInErrorResponses: false,
    stopOnTerminationSignals: false,
    nodeEnv: 'production',
    formatError(_formatted, error) {
      const record = current()
      const formatted = formatError(error, record?.correlationId, log)
      record?.note(String(formatted.extensions?.code))
      return formatted
    },
    plugins: [
      { requestDidStart: () => Promise.resolve(createPrepareListener(options)) },
      routerCallbacks.plugin,
      ApolloServerPluginLandingPageDisabled(),
      ApolloServerPluginCacheControlDisabled(),
      ApolloServerPluginInlineTraceDisabled(),
      ApolloServerPluginUsageReportingDisabled(),
    ] satisfies ApolloServerPlugin<OperationContext>[],
  })
  await apollo.start()
  return apollo
}

/** Replaces a refused document. It is never executed. */
const REFUSED = parse('{ __typename }')

/**
 * Checks a request with `prepare`. Apollo parses and validates only requests without a document, so this sets
 * one. Errors are the response: nothing is executed.
 */
function createPrepareListener({
  prepare,
  authorization,
  routerCallbacks,
  log,
}: ApolloOptions): GraphQLRequestListener<OperationContext> {
  let refusals: readonly GraphQLError[] = []
  return {
    didResolveSource(request) {
      const document = prepare.document(request.source)
      if (!document.ok) refusals = document.errors
      Object.assign(request, { document: document.ok ? document.value : REFUSED })
      return Promise.resolve()
    },
    didResolveOperation({ document, request, contextValue }) {
      if (refusals.length > 0) return Promise.resolve()
      const { operationName, variables } = request
      const operation = prepare.operation(document, operationName, variables, contextValue)
      if (operation.ok) contextValue.record?.describe(operation.value, operationName)
      const fault = operation.ok && findTransportFault(operation.value, routerCallbacks, request)
      if (!operation.ok) refusals = operation.errors
      else if (fault) refusals = [fault]
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
        body: { kind: 'single', singleResult: { errors } },
      })
    },
    willSendResponse({ response: { body, http }, contextValue }) {
      const result = body.kind === 'single' ? body.singleResult : {}
      const [error] = result.errors ?? []
      if (error !== undefined) contextValue.record?.note(String(error.extensions?.code))
      const head = toOutageHead(result)
      if (head !== undefined) http.status = head.status
      for (const [name, value] of Object.entries(head?.headers ?? {})) http.headers.set(name, value)
      return Promise.resolve()
    },
    didEncounterErrors({ errors, contextValue }) {
      for (const { extensions } of errors) extensions.correlationId ??= contextValue.correlationId
      return Promise.resolve()
    },
  }
}

/** Over HTTP, subscriptions need a router callback, and other operations must not have one. */
function findTransportFault(
  { operation }: OperationDefinitionNode,
  routerCallbacks: RouterCallbacks,
  request: GraphQLRequest,
): GraphQLError | undefined {
  const isSubscription = operation === OperationTypeNode.SUBSCRIPTION
  if (routerCallbacks.isRequested(request))
    return isSubscription
      ? routerCallbacks.findFault(request)
      : requestError('BAD_REQUEST', 'Only the events of a subscription can be posted to a callback URL.')
  if (!isSubscription) return undefined
  return requestError(
    'BAD_REQUEST',
    'Subscriptions run over WebSocket (graphql-transport-ws) at this path, or as server-sent events at /graphql/stream.',
  )
}

/** Messages of Apollo that do not name the remedy, by their beginnings. */
const REMEDIES: readonly (readonly [string, string])[] = [
  [
    'This operation has been blocked as a potential Cross-Site Request Forgery',
    'Send GraphQL as POST with the header "content-type: application/json", and a body such as {"query":"{ upscaleService { mode } }"}. A GET needs the header "apollo-require-preflight: true".',
  ],
  [
    'POST body missing',
    'The body is missing or empty: send JSON with the header "content-type: application/json", such as {"query":"{ upscaleService { mode } }"}.',
  ],
]

function withRemedy(error: GraphQLError): GraphQLError {
  const remedy = REMEDIES.find(([beginning]) => error.message.startsWith(beginning))
  return remedy === undefined ? error : new GraphQLError(remedy[1], { extensions: error.extensions })
}

/** Apollo refuses some requests, such as batches, before they have a context with a correlation id. */
function formatError(error: unknown, requestId: string | undefined, log: Log) {
  const cause = error instanceof Error ? error : new Error(String(error))
  const graphqlError = error instanceof GraphQLError ? error : new GraphQLError('', { originalError: cause })
  const { code, correlationId = requestId ?? randomUUID() } = graphqlError.extensions
  // Apollo's refusals of persisted queries have an HTTP status, but no code.
  const isRefusal = code === undefined && toHttpStatus(graphqlError) === 400
  return toPublicError(
    isRefusal ? withCode('BAD_REQUEST', graphqlError) : withRemedy(graphqlError),
    String(correlationId),
    log,
  )
}
