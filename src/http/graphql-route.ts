import { randomUUID } from 'node:crypto'
import { ApolloServer, type ApolloServerPlugin } from '@apollo/server'
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginInlineTraceDisabled,
  ApolloServerPluginLandingPageDisabled,
  ApolloServerPluginUsageReportingDisabled,
} from '@apollo/server/plugin/disabled'
import { fastifyApolloHandler } from '@as-integrations/fastify'
import { renderGraphiQL } from '@graphql-yoga/render-graphiql'
import type { FastifyInstance } from 'fastify'
import { GraphQLError, OperationTypeNode, type GraphQLSchema } from 'graphql'
import type { OperationContext } from '../graphql/context.ts'
import { requestError, toPublicError } from '../graphql/errors.ts'
import type { Prepare } from '../graphql/prepare.ts'
import type { Log } from '../tasks/ports.ts'

export interface GraphqlRoute {
  readonly schema: GraphQLSchema
  readonly prepare: Prepare
  readonly log: Log
  readonly graphiql: boolean
  createContext(correlationId: string): OperationContext
}

/** GraphQL over HTTP at `/graphql`: Apollo Server; and GraphiQL for browsers, where it is enabled. */
export async function addGraphqlRoute(
  app: FastifyInstance,
  { schema, prepare, log, graphiql, createContext }: GraphqlRoute,
): Promise<AsyncDisposable> {
  const apollo = new ApolloServer<OperationContext>({
    schema,
    // Ours to decide, in `prepare`: Apollo's own switches do not reach the socket.
    introspection: true,
    parseOptions: prepare.parseOptions,
    validationRules: [...prepare.validationRules],
    documentStore: null,
    csrfPrevention: true,
    includeStacktraceInErrorResponses: false,
    stopOnTerminationSignals: false,
    nodeEnv: 'production',
    formatError: (_formatted, error) => formatError(error, log),
    plugins: [
      usePrepared(prepare),
      ApolloServerPluginLandingPageDisabled(),
      ApolloServerPluginCacheControlDisabled(),
      ApolloServerPluginInlineTraceDisabled(),
      ApolloServerPluginUsageReportingDisabled(),
    ],
  })
  await apollo.start()
  const handle = fastifyApolloHandler(apollo, {
    context: (request) => Promise.resolve(createContext(request.id)),
  })
  const page = graphiql ? renderPage() : undefined
  app.post('/graphql', handle)
  app.get('/graphql', function (request, reply) {
    if (page !== undefined && request.headers.accept?.includes('text/html'))
      return reply.type('text/html; charset=utf-8').send(page)
    return handle.call(this, request, reply)
  })
  return { [Symbol.asyncDispose]: () => apollo.stop() }
}

/**
 * Gives Apollo documents from `prepare`. Those that `prepare` refuses Apollo parses and validates itself,
 * by the same options and rules, to answer with all their errors; should it ever come to another view, the
 * operation ends here.
 */
function usePrepared(prepare: Prepare): ApolloServerPlugin<OperationContext> {
  return {
    requestDidStart: () =>
      Promise.resolve({
        didResolveSource(request) {
          const prepared = prepare.document(request.source)
          if (prepared.ok) Object.assign(request, { document: prepared.value })
          return Promise.resolve()
        },
        didResolveOperation({ document, operation }) {
          if (!prepare.isPrepared(document)) throw new Error('A document was not prepared')
          if (operation?.operation === OperationTypeNode.SUBSCRIPTION)
            throw requestError(
              'BAD_REQUEST',
              'Subscriptions run over WebSocket (graphql-transport-ws) at this path.',
              {
                http: { status: 400 },
              },
            )
          return Promise.resolve()
        },
        didEncounterErrors({ errors, contextValue }) {
          for (const { extensions } of errors) extensions.correlationId ??= contextValue.correlationId
          return Promise.resolve()
        },
      }),
  }
}

function formatError(error: unknown, log: Log) {
  const graphqlError =
    error instanceof GraphQLError ? error : new GraphQLError('', { originalError: error as Error })
  const known = graphqlError.extensions.correlationId
  return toPublicError(graphqlError, typeof known === 'string' ? known : randomUUID(), log)
}

const EXAMPLE = `# The sandbox takes any task id. Run this, copy the id of the task, and follow it with the second operation.
mutation Upscale {
  upscaleImage(input: { taskId: "my-first-task", imageIndex: 0 }) {
    replayed
    task { id status version }
    problem { code message retryable retryAfterMs }
  }
}

subscription Follow($id: ID!) {
  taskUpdated(id: $id) {
    status
    version
    images { url expiresAt }
    problem { code message }
  }
}
`

/** The whole of GraphiQL in one page, from our own package: it loads nothing from elsewhere. */
function renderPage(): string {
  return renderGraphiQL({
    title: 'Upscale gateway',
    endpoint: '/graphql',
    subscriptionsProtocol: 'WS',
    defaultQuery: EXAMPLE,
  })
}
