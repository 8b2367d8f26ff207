import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { openBackends } from './backends.ts'
import type { Config, SigningSecretConfig } from './config.ts'
import { createDeliveries } from './deliveries/deliveries.ts'
import { createDeliverySender } from './deliveries/sender.ts'
import { createDeliverySigner } from './deliveries/signer.ts'
import { createContextFactory } from './graphql/context.ts'
import { createPrepare } from './graphql/prepare.ts'
import { createSchema } from './graphql/schema.ts'
import { createRefusedOriginLog, toAllowedHosts } from './http/access.ts'
import { createHttpApp, type HttpLimits } from './http/app.ts'
import { createAuthenticate } from './http/authenticate.ts'
import { createAuthRefusals } from './http/auth-refusals.ts'
import { addCallbackRoute, toCallbackPath } from './http/callback.ts'
import { createDoor } from './http/authorize.ts'
import { addGraphqlRoute } from './http/graphql.ts'
import { openGraphqlSocket } from './http/socket.ts'
import { addHealthRoutes, addMetricsRoute } from './http/health.ts'
import { createHttpStreams } from './http/http-streams.ts'
import { addStreamRoute } from './http/sse.ts'
import { createWatchTokens } from './http/watch-tokens.ts'
import type { LocalHints } from './replicas/local-hints.ts'
import { createRateLimits } from './replicas/rate-limits.ts'
import { createMetrics } from './metrics.ts'
import { createFetch } from './net/fetch.ts'
import { createConnector } from './net/outbound.ts'
import type { Sandbox, SandboxOptions } from './sandbox/sandbox.ts'
import { systemClock, systemSecrets } from './system.ts'
import type { Clock } from './tasks/ports.ts'
import { createTasks } from './tasks/tasks.ts'
import { createUpscaler } from './upstream/upscaler.ts'
import { parseCallback, parseJson } from './upstream/wire.ts'
import { createAlarm, startWorker } from './worker.ts'

/** A running service. Disposing drains it: running work finishes, sockets are closed, all resources are released. */
export interface Service extends AsyncDisposable {
  /** Where GraphQL and everything else is served, e.g. `http://127.0.0.1:4000`. */
  readonly url: string
  /** Where callbacks are served; the same as `url` unless CALLBACK_PORT is set. */
  readonly callbackUrl: string
}

/** What a test may put in the place of the real thing. */
export interface Overrides {
  readonly clock?: Clock
  /** Name servers to ask instead of the system's: addresses with ports. */
  readonly nameServers?: readonly string[]
  /** The hints of a service that is alone on its database, for whoever writes into that database directly. */
  readonly hints?: LocalHints
  /** Overrides of the limits of HTTP connections. */
  readonly limits?: Partial<HttpLimits>
  /** How long the embedded sandbox takes for an upscale. */
  readonly sandboxCompleteAfterMs?: number
}

const SANDBOX_PREFIX = '/sandbox'
const HOUR_MS = 3_600_000
const POLLS_PER_SECOND = 5
/** A replay waits no longer than this for a replica that has died. */
const ANSWER_LEASE_MS = 6_000
/** How long answers may take to leave once all work is done. */
const CUT_OFF_MS = 1_000
/** How long connections may take to be closed in good order. */
const CLOSE_MS = 3_000

/** Builds the service out of its parts, starts it, and resolves once it takes requests. */
export async function startService(config: Config, log: Logger, overrides: Overrides = {}): Promise<Service> {
  await using opened = new AsyncDisposableStack()
  const { mode } = config
  const clock = overrides.clock ?? systemClock
  const metrics = createMetrics(
    () => ({
      sockets: () => sockets.count(),
      streams: () => streams.count(),
      tasks: () => store.countByStatus(),
      pool: () => backends.pool(),
    }),
    log,
  )
  const { onHint } = metrics
  const refusals = createAuthRefusals(log, metrics.onAuthRefusal)
  const backends = opened.use(
    await openBackends(config, {
      pollsPerSecond: POLLS_PER_SECOND,
      clock,
      log,
      onHint,
      ...(overrides.hints && { hints: overrides.hints }),
    }),
  )
  const { store, outbox, hints, createLimiter, budget } = backends

  let draining = false
  const isDraining = () => draining
  const authenticates = config.auth.mode !== 'none'
  const hosts = toAllowedHosts(authenticates, config.host, config.publicUrl)
  const onRefusedOrigin = createRefusedOriginLog(log)
  const access = { corsOrigins: config.corsOrigins, hosts, onRefusedOrigin }
  const { keepAliveMs } = config
  const server = {
    access,
    log,
    keepAliveMs,
    isDraining,
    ...(overrides.limits && { limits: overrides.limits }),
  }
  const app = await createHttpApp(server)
  const callbackApp = config.callbackPort === null ? app : await createHttpApp(server)
  const apps = new Set([app, callbackApp])
  for (const each of apps) opened.defer(() => each.close())
  // Functions, because with PORT=0 the port is known only once the server listens.
  const url = once(() => toUrl(config, app))
  const callbackUrl = once(() => toUrl(config, callbackApp))
  const publicUrl = () => config.publicUrl ?? (mode === 'SANDBOX' ? callbackUrl() : null)

  // Random for each process: the embedded sandbox serves only its own gateway.
  const sandboxKey = systemSecrets.newToken()
  const connect = () => createConnector(config.proxies, { servers: overrides.nameServers ?? [] })
  const upscaler = opened.use(
    createUpscaler({
      baseUrl: () => config.upstream.url ?? url() + SANDBOX_PREFIX,
      apiKey: config.upstream.url === null ? sandboxKey : config.upstream.apiKey,
      connector: opened.use(connect()),
      timeoutMs: config.upstream.timeoutMs,
      clock,
      log,
      onAnswer: metrics.onUpstream,
    }),
  )
  const signingSecrets = toSigningSecrets(config, log)
  const signer = createDeliverySigner(signingSecrets)
  const sender = opened.use(
    createDeliverySender({
      timeoutMs: 10_000,
      allowedHosts: config.callbackAllowHosts,
      connector: opened.use(connect()),
      clock,
    }),
  )
  const alarm = createAlarm()
  const deliveryAlarm = createAlarm()
  const limits = createRateLimits({ upstream: config.upstreamRate, owner: config.ownerRate }, createLimiter)
  const deliveries = createDeliveries({
    store,
    outbox,
    signer,
    sender,
    limits,
    clock,
    log,
    deliverForMs: config.deliverForMs,
    wake: () => deliveryAlarm.ring(),
    onDelivery: metrics.onDelivery,
  })
  const tasks = createTasks({
    store,
    hints,
    upscaler,
    clock,
    secrets: systemSecrets,
    limits,
    budget,
    deliveries,
    log,
    policy: {
      deadlineMs: config.taskDeadlineMs,
      pollIntervalMs: config.pollIntervalMs,
      reassertMs: config.reassertMs,
      imageLifetimeMs: 24 * HOUR_MS,
      idempotencyKeyLifetimeMs: 24 * HOUR_MS,
      submitTimeoutMs: config.upstream.timeoutMs,
      answerLeaseMs: ANSWER_LEASE_MS,
      pollTimeoutMs: Math.min(config.upstream.timeoutMs, 10_000),
      confirmTimeoutMs: 3_000,
      pollsPerSecond: POLLS_PER_SECOND,
      confirmCallbacks: config.confirmCallbacks,
      retentionMs: config.retentionMs,
    },
    callbackUrl(taskId, token) {
      const base = publicUrl()
      return base && base + toCallbackPath(taskId, token)
    },
  })

  for (const each of apps) addHealthRoutes(each, { store, log, isDraining })
  const { webhookKeys: keys, webhookWindowMs: windowMs } = config
  const signatures = keys.length > 0 ? { keys, windowMs } : null
  addCallbackRoute(callbackApp, {
    tasks,
    secrets: systemSecrets,
    clock,
    log,
    signatures,
    onAnswer: metrics.onCallback,
    parseJson,
    parseCallback,
  })
  addMetricsRoute(app, metrics.render)
  const embedded = { apiKey: sandboxKey, callbackBase: () => `${publicUrl() ?? ''}/callbacks/` }
  const sandbox =
    config.upstream.url === null ? await addEmbeddedSandbox(app, config, log, overrides, embedded) : null

  const schema = await createSchema(log)
  const prepare = createPrepare(schema, { introspection: config.introspection, log })
  const callbackPolicy = { canSign: signer.canSign, allowedHosts: config.callbackAllowHosts }
  const watchTokens = createWatchTokens({
    secrets: config.watchTokenSecrets ?? (mode === 'SANDBOX' ? [systemSecrets.newToken()] : []),
    lifetimeMs: config.watchTokenLifetimeMs,
    clock,
    refusals,
  })
  const createContext = createContextFactory({ tasks, deliveries, mode, callbackPolicy, watchTokens })
  const fetchKeys = createFetch(opened.use(connect()).open())
  const authenticate = createAuthenticate(config.auth, { log, refusals, fetchKeys })
  const graphql = { schema, prepare, log, createContext }
  const { ownerSocketLimit, socketOperationLimit, guestSockets, graphiql, subscriptionCallbackUrls } = config
  const { guestSocketLimit } = config
  const streams = createHttpStreams(socketOperationLimit)
  const http = { ...graphql, streams, door: createDoor({ authenticate, refusals, log, isDraining }) }
  // Not disposed of: the last messages to routers leave while everything else is being closed.
  const routers = connect().open()
  opened.use(await addGraphqlRoute(app, { ...http, graphiql, subscriptionCallbackUrls, routers }))
  addStreamRoute(app, http)
  const socketLimits = { ownerSocketLimit, socketOperationLimit, guestSocketLimit }
  const session = { authenticate, watchTokens, guestSockets, ...socketLimits }
  const sockets = opened.use(openGraphqlSocket(app.server, { ...graphql, ...session, access, clock }))
  await app.listen({ host: config.host, port: config.port })
  if (callbackApp !== app) await callbackApp.listen({ host: config.host, port: config.callbackPort ?? 0 })
  await sandbox?.resume()
  const workers = [
    startWorker('looking after tasks', tasks.reconcile, alarm, clock, log),
    startWorker('delivering callbacks', deliveries.deliverDue, deliveryAlarm, clock, log),
  ]
  for (const worker of workers) opened.use(worker)

  announce(config, url(), publicUrl(), log)
  const rest = opened.move()
  return {
    url: url(),
    callbackUrl: callbackUrl(),
    async [Symbol.asyncDispose]() {
      draining = true
      // Nothing new is taken up; clients go to other replicas a few at a time; what runs comes to its end.
      const stopped = Promise.all(workers.map((worker) => worker.stop()))
      const ended = Promise.all([sockets.drain(config.drainMs / 2), streams.drain(), tasks.drained()])
        .then(() => tasks.drained())
        .then(() => stopped)
      await Promise.race([ended, after(config.drainMs)])
      // What is cut short now gives its lease back, while the store is still there.
      tasks.cutShort()
      upscaler[Symbol.dispose]()
      sender[Symbol.dispose]()
      await Promise.race([stopped, after(CUT_OFF_MS)])
      // Clients that hold a connection without a whole request would hold up the end for ever.
      const cut = setTimeout(() => apps.forEach(({ server }) => server.closeAllConnections()), CUT_OFF_MS)
      // A server that is silent says nothing to a goodbye either.
      await Promise.race([rest.disposeAsync(), after(CLOSE_MS)])
      clearTimeout(cut)
    },
  }
}

async function addEmbeddedSandbox(
  app: FastifyInstance,
  config: Config,
  log: Logger,
  { sandboxCompleteAfterMs }: Overrides,
  access: Pick<SandboxOptions, 'apiKey' | 'callbackBase'>,
): Promise<Sandbox | null> {
  // Loaded only here: live mode has no use for an image library.
  const { addSandbox } = await import('./sandbox/sandbox.ts')
  const [webhookKey] = config.webhookKeys
  const options: SandboxOptions = {
    images: config.sandboxImages,
    database: config.database,
    publicBase: createPictureBase(app, config),
    log,
    ...access,
    ...(sandboxCompleteAfterMs !== undefined && { completeAfterMs: sandboxCompleteAfterMs }),
    ...(webhookKey && { webhookKey }),
  }
  let sandbox: Sandbox | null = null
  await app.register(async (scope) => void (sandbox = await addSandbox(scope, options)), {
    prefix: SANDBOX_PREFIX,
  })
  return sandbox
}

/**
 * Where browsers reach the sandbox's pictures: under PUBLIC_URL (unless that is the callback port's). Without PUBLIC_URL,
 * a service that listens on all addresses uses the Host of the last GraphQL request over HTTP.
 */
function createPictureBase(
  app: FastifyInstance,
  { host, publicUrl, callbackPort, auth }: Config,
): () => string | null {
  if (publicUrl !== null && callbackPort === null) return () => publicUrl
  if (!isWildcard(host)) return () => null
  let asked: string | null = null
  // Only authenticated callers choose the host. GET serves GraphiQL's page without authentication.
  app.addHook('preHandler', ({ method, routeOptions, host: name }, _reply, done) => {
    const authenticated = auth.mode === 'none' || method === 'POST'
    if (authenticated && routeOptions.url?.startsWith('/graphql')) asked = name
    done()
  })
  return () => (asked !== null && URL.canParse(`http://${asked}`) ? new URL(`http://${asked}`).origin : null)
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

/** Reads a value at the first call and keeps it: a server that is closing no longer tells its port. */
function once<T>(read: () => T): () => T {
  let known: { readonly value: T } | undefined
  return () => (known ??= { value: read() }).value
}

/** Under which URL the machine itself reaches a listening server. */
function toUrl({ host }: Config, app: FastifyInstance): string {
  const { port } = app.server.address() as AddressInfo
  const name = isWildcard(host) ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host
  return `http://${name}:${port}`
}

/** Those that are set; the sandbox makes one up and shows it, so that a receiver can be tried out. */
function toSigningSecrets({ mode, signingSecrets }: Config, log: Logger): readonly SigningSecretConfig[] {
  if (mode === 'LIVE' || signingSecrets.length > 0) return signingSecrets
  const secret = systemSecrets.newSigningSecret()
  log.info(`CALLBACK_SIGNING_SECRETS is not set: callbacks are signed with ${secret} until the service ends`)
  return [{ owner: null, secret }]
}

/** Says what was started, and loudly what one would not want to find out later. */
function announce(config: Config, url: string, publicUrl: string | null, log: Logger): void {
  if (config.mode === 'SANDBOX' && config.upstream.url === null)
    log.warn(
      'SANDBOX mode: no UPSTREAM_API_KEY is set, so upscales are played by the built-in sandbox and cost nothing',
    )
  else if (config.mode === 'SANDBOX')
    log.warn(`SANDBOX mode: no UPSTREAM_API_KEY is set, and upscales go to ${config.upstream.url}`)
  else log.info({ upstream: config.upstream.url }, 'LIVE mode: every new upscale costs credits')
  if (publicUrl === null)
    log.warn(
      'PUBLIC_URL is not set: the upstream cannot send callbacks, and results are found by polling only',
    )
  if (config.taskDeadlineMs <= config.upstream.timeoutMs)
    log.warn(
      'TASK_DEADLINE_MS is no longer than UPSTREAM_TIMEOUT_MS: tasks may fail before they are accepted',
    )
  if (config.mode === 'LIVE' && config.auth.mode === 'none')
    log.warn(
      'AUTH_MODE=none: every caller can spend credits and see every task. Set AUTH_JWKS_URL or AUTH_JWT_SECRET instead',
    )
  announceProxies(config, log)
  log.info(`GraphQL at ${url}/graphql${config.graphiql ? ' (open it in a browser for GraphiQL)' : ''}`)
}

/** Names the proxies, without credentials. */
function announceProxies({ proxies: { http, https } }: Config, log: Logger): void {
  const named = [
    ...new Set([http, https].flatMap((proxy) => (proxy === null ? [] : [new URL(proxy).origin]))),
  ]
  if (named.length > 0)
    log.warn(
      `Requests leave through the proxy ${named.join(' and ')}. It must refuse private destinations: the addresses of ` +
        'callback URLs cannot be checked behind it',
    )
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}
