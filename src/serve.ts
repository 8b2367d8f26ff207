import type { Backends } from './backends.ts'
import { addBrowserPages } from './browser-pages.ts'
import type { Core } from './core.ts'
import { createFastPath } from './fast/fast-path.ts'
import { createContextFactory } from './graphql/context.ts'
import { createPrepare } from './graphql/prepare.ts'
import { createSchema } from './graphql/schema.ts'
import { createAuthRefusals } from './http/auth-refusals.ts'
import { createAuthorize } from './http/authorize.ts'
import { addCallbackRoute } from './http/callback.ts'
import { addGraphqlRoute } from './http/graphql.ts'
import { addHealthRoutes, addMetricsRoute } from './http/health.ts'
import { HttpAuthorization } from './http/http-authorization.ts'
import { createHttpStreams, type HttpStreams } from './http/http-streams.ts'
import { addResultRoute } from './http/result-route.ts'
import { createOperationRecords } from './http/operation-records.ts'
import { openGraphqlSocket, type GraphqlSockets } from './http/socket.ts'
import { addStreamRoute } from './http/sse.ts'
import { createWatchTokens } from './http/watch-tokens.ts'
import type { Metrics } from './metrics/metrics.ts'
import { createFetch } from './net/fetch.ts'
import type { Connector, Outbound } from './net/outbound.ts'
import { GRAPHIQL_WORKER } from './programs.ts'
import type { Servers } from './servers.ts'
import type { Settings } from './settings.ts'
import { systemSecrets } from './system.ts'
import type { Clock, Log } from './tasks/ports.ts'
import type { Tracing } from './tasks/tracing.ts'
import { parseJson } from './upstream/json.ts'

interface ServeOptions {
  readonly settings: Settings
  readonly servers: Servers
  readonly core: Core
  readonly backends: Pick<Backends, 'store' | 'hintsUp' | 'pool'>
  readonly metrics: Metrics
  readonly clock: Clock
  readonly log: Log
  readonly tracing: Tracing
  isDraining(): boolean
  /** Opens connections to one dependency. */
  connect(): Connector
  /** Connections to routers. */
  readonly routers: Outbound
  /** False: subscriptions on sockets run without the fast path. */
  readonly fast?: boolean | undefined
  /** The folder of the built console. */
  readonly consoleFolder?: string | undefined
}

/** The transports for clients. */
export interface Transports extends AsyncDisposable {
  readonly sockets: GraphqlSockets
  readonly streams: HttpStreams
}

/** Adds every route to the servers, and GraphQL on each of its transports. */
export async function serve(options: ServeOptions): Promise<Transports> {
  const { settings, servers, core, backends, metrics, clock, log, tracing, isDraining } = options
  const { store } = backends
  const { copies, renditions } = core.results
  const { metricsApp } = servers
  for (const app of new Set([servers.app, servers.callbackApp, metricsApp])) {
    if (app === null) continue
    addHealthRoutes(app, { store, log, isDraining, parts: () => toParts(options) })
    if (app === metricsApp && app !== servers.app) continue
    if (copies === null || renditions === null) continue
    const redirects = settings.resultRedirect
    addResultRoute(app, { tasks: core.tasks, copies, renditions, redirects, log })
  }
  if (metricsApp !== null) addMetricsRoute(metricsApp, metrics.render)
  const { upstreamWebhookKeys: keys, upstreamWebhookWindowS } = settings
  addCallbackRoute(servers.callbackApp, {
    tasks: core.tasks,
    secrets: systemSecrets,
    clock,
    log,
    signatures: keys.length > 0 ? { keys, windowMs: upstreamWebhookWindowS * 1_000 } : null,
    onAnswer: metrics.onCallback,
    parseJson,
    engines: core.engines,
    tracing,
  })
  await addBrowserPages(options)
  return serveGraphql(options)
}

/** The state of the parts of the service, for operators. */
function toParts({ backends, core: { engines } }: ServeOptions) {
  const arrive = backends.hintsUp()
  const available = engines.all.map(({ name }) => [
    name,
    engines.isAvailable(name) ? 'available' : 'unavailable',
  ])
  return {
    hints: arrive === undefined ? 'not shared' : arrive ? 'ok' : 'not arriving: watched tasks are polled',
    engines: Object.fromEntries(available) as Record<string, string>,
    databaseConnections: backends.pool() ?? null,
  }
}

async function serveGraphql(options: ServeOptions): Promise<Transports> {
  const { settings, servers, core, metrics, clock, log, tracing, isDraining, connect, routers } = options
  const { app, access } = servers
  const refusals = createAuthRefusals(log, metrics.onAuthRefusal)
  const watchTokens = createWatchTokens({
    secrets: settings.watchTokenSecrets ?? (settings.mode === 'SANDBOX' ? [systemSecrets.newToken()] : []),
    lifetimeMs: settings.watchTokenTtlS * 1_000,
    clock,
    refusals,
  })
  const fetchKeys = createFetch(connect().open())
  const authorize = createAuthorize(settings.auth, { watchTokens, refusals, log, fetchKeys })
  const schema = await createSchema(log)
  const accessLog = settings.accessLog ? log : null
  const { onOperation, onRefusal } = metrics
  const graphql = {
    records: createOperationRecords({ tracing, clock, accessLog, onOperation }),
    schema,
    prepare: createPrepare(schema, { introspection: settings.introspection, log, onRefusal }),
    log,
    createContext: createContextFactory({
      tasks: core.tasks,
      deliveries: core.deliveries,
      results: core.results,
      mode: settings.mode,
      callbackPolicy: { canSign: core.signer.canSign, allowedHosts: settings.callbackAllowHosts },
      watchTokens,
    }),
  }
  const streams = createHttpStreams(settings.socketOperationLimit, metrics)
  const authorization = new HttpAuthorization({ authorize, refusals, isDraining })
  const http = { ...graphql, streams, authorization }
  const apollo = await addGraphqlRoute(app, {
    ...http,
    graphiqlProgram: settings.graphiql ? GRAPHIQL_WORKER : null,
    subscriptionCallbackUrls: settings.subscriptionCallbackUrls,
    routers,
  })
  addStreamRoute(app, http)
  const { ownerSocketLimit, socketOperationLimit, guestSocketLimit, guestSockets } = settings
  const limits = { ownerSocketLimit, socketOperationLimit, guestSocketLimit }
  const session = { authorize, guestSockets, access, clock, observer: metrics }
  const fast = options.fast === false ? undefined : createFastPath(schema, log)
  const sockets = openGraphqlSocket(app.server, { ...graphql, ...session, ...limits, fast })
  return {
    sockets,
    streams,
    async [Symbol.asyncDispose]() {
      await sockets[Symbol.asyncDispose]()
      await apollo[Symbol.asyncDispose]()
    },
  }
}
