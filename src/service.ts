import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import type { Config } from './config.ts'
import { createContextFactory } from './graphql/context.ts'
import { createPrepare } from './graphql/prepare.ts'
import { createSchema } from './graphql/schema.ts'
import { createLocalHints } from './hints/local.ts'
import { toAllowedHosts } from './http/access.ts'
import { createHttpApp } from './http/app.ts'
import { createAuthenticate } from './http/auth.ts'
import { addCallbackRoute, toCallbackPath } from './http/callback-route.ts'
import { addGraphqlRoute } from './http/graphql-route.ts'
import { openGraphqlSocket } from './http/graphql-socket.ts'
import { addHealthRoutes } from './http/health-routes.ts'
import { createLocalRateLimits } from './limits/local.ts'
import { createAlarm, startReconciler } from './reconciler.ts'
import { openSqliteTaskStore } from './store/sqlite.ts'
import { systemClock, systemSecrets } from './system.ts'
import type { Clock } from './tasks/ports.ts'
import { createTasks } from './tasks/tasks.ts'
import { createUpscaler } from './upstream/upscaler.ts'
import { parseCallback } from './upstream/wire.ts'

/** A running service. Disposing drains it: what runs is finished, sockets are told, everything is closed. */
export interface Service extends AsyncDisposable {
  /** Where GraphQL and everything else is served, e.g. `http://127.0.0.1:4000`. */
  readonly url: string
  /** Where callbacks are served; the same as `url` unless CALLBACK_PORT is set. */
  readonly callbackUrl: string
}

/** What a test may put in the place of the real thing. */
export interface Overrides {
  readonly clock?: Clock
  /** How long the embedded sandbox takes for an upscale. */
  readonly sandboxCompleteAfterMs?: number
}

const SANDBOX_PREFIX = '/sandbox'
const HOUR_MS = 3_600_000
/** How long answers may take to leave once all work is done. */
const CUT_OFF_MS = 1_000

/** Builds the service out of its parts, starts it, and resolves once it takes requests. */
export async function startService(config: Config, log: Logger, overrides: Overrides = {}): Promise<Service> {
  await using opened = new AsyncDisposableStack()
  const { mode } = config
  const clock = overrides.clock ?? systemClock
  const hints = createLocalHints()
  const store = opened.use(await openSqliteTaskStore(config.databaseFile, hints))

  let draining = false
  const isDraining = () => draining
  const authenticates = config.auth.mode !== 'none'
  const hosts = toAllowedHosts(authenticates, config.host, config.publicUrl)
  const access = { corsOrigins: config.corsOrigins, hosts }
  const app = await createHttpApp({ access, log, isDraining })
  const callbackApp = config.callbackPort === null ? app : await createHttpApp({ access, log, isDraining })
  const apps = new Set([app, callbackApp])
  for (const each of apps) opened.defer(() => each.close())
  // Only listening tells the port (with PORT=0), hence functions; nothing asks before a request comes.
  const url = () => toUrl(config, app)
  const callbackUrl = () => toUrl(config, callbackApp)
  const publicUrl = () => config.publicUrl ?? (mode === 'SANDBOX' ? callbackUrl() : null)

  const upscaler = opened.use(
    createUpscaler({
      baseUrl: () => config.upstream.url ?? url() + SANDBOX_PREFIX,
      apiKey: config.upstream.apiKey,
      timeoutMs: config.upstream.timeoutMs,
      clock,
      log,
    }),
  )
  const alarm = createAlarm()
  const tasks = createTasks({
    store,
    hints,
    upscaler,
    clock,
    secrets: systemSecrets,
    limits: createLocalRateLimits({ upstream: config.upstreamRate, owner: config.ownerRate }),
    log,
    alarm,
    policy: {
      deadlineMs: config.taskDeadlineMs,
      pollIntervalMs: config.pollIntervalMs,
      reassertMs: config.reassertMs,
      imageLifetimeMs: 24 * HOUR_MS,
      idempotencyKeyLifetimeMs: 24 * HOUR_MS,
      submitTimeoutMs: config.upstream.timeoutMs,
      pollTimeoutMs: Math.min(config.upstream.timeoutMs, 10_000),
      confirmTimeoutMs: 3_000,
      pollsPerSecond: 5,
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
  addCallbackRoute(callbackApp, { tasks, secrets: systemSecrets, clock, log, signatures, parseCallback })
  if (config.upstream.url === null) await addEmbeddedSandbox(app, config, log, overrides)

  const schema = await createSchema(log)
  const prepare = createPrepare(schema, { introspection: config.introspection })
  const createContext = createContextFactory(tasks, mode)
  const authenticate = createAuthenticate(config.auth)
  const graphql = { schema, prepare, log, createContext, authenticate }
  opened.use(await addGraphqlRoute(app, { ...graphql, graphiql: config.graphiql, isDraining }))
  const { ownerSocketLimit, socketOperationLimit } = config
  const limits = { ownerSocketLimit, socketOperationLimit }
  const sockets = opened.use(openGraphqlSocket(app.server, { ...graphql, ...limits, access, clock }))
  await app.listen({ host: config.host, port: config.port })
  if (callbackApp !== app) await callbackApp.listen({ host: config.host, port: config.callbackPort ?? 0 })
  const reconciler = opened.use(startReconciler(tasks, alarm, clock, log))

  announce(config, url(), publicUrl(), log)
  const rest = opened.move()
  return {
    url: url(),
    callbackUrl: callbackUrl(),
    async [Symbol.asyncDispose]() {
      draining = true
      await sockets[Symbol.asyncDispose]()
      const idle = Promise.all([reconciler.stop(), tasks.drained()])
      await Promise.race([idle, after(config.drainMs)])
      upscaler[Symbol.dispose]()
      // Clients that hold a connection without a whole request would hold up the end for ever.
      const cut = setTimeout(() => apps.forEach(({ server }) => server.closeAllConnections()), CUT_OFF_MS)
      await rest.disposeAsync()
      clearTimeout(cut)
    },
  }
}

async function addEmbeddedSandbox(
  app: FastifyInstance,
  { sandboxImages, webhookKeys }: Config,
  log: Logger,
  { sandboxCompleteAfterMs }: Overrides,
): Promise<void> {
  // Loaded only here: live mode has no use for an image library.
  const { addSandbox } = await import('./sandbox/sandbox.ts')
  const completeAfterMs =
    sandboxCompleteAfterMs === undefined ? {} : { completeAfterMs: sandboxCompleteAfterMs }
  const [webhookKey] = webhookKeys
  const options = { images: sandboxImages, log, ...completeAfterMs, ...(webhookKey && { webhookKey }) }
  await app.register((sandbox) => addSandbox(sandbox, options), { prefix: SANDBOX_PREFIX })
}

/** Under which URL the machine itself reaches a listening server. */
function toUrl({ host }: Config, app: FastifyInstance): string {
  const { port } = app.server.address() as AddressInfo
  const anywhere = host === '0.0.0.0' || host === '::'
  const name = anywhere ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host
  return `http://${name}:${port}`
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
    log.warn('PUBLIC_URL is not set: the upstream cannot call back, and results are learnt by polling only')
  if (config.mode === 'LIVE' && config.auth.mode === 'none')
    log.warn('AUTH_MODE=none: whoever reaches this service can spend credits and see every task')
  log.info(`GraphQL at ${url}/graphql${config.graphiql ? ' (open it in a browser for GraphiQL)' : ''}`)
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}
