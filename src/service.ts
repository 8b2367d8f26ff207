import type { Logger } from 'pino'
import { announce } from './announce.ts'
import { openBackends } from './open-backends.ts'
import { openCore, type Core } from './core.ts'
import { addEmbeddedSandbox } from './embedded-sandbox.ts'
import type { HttpLimits } from './http/app.ts'
import { createMetrics } from './metrics/metrics.ts'
import { openConnector } from './net/outbound.ts'
import { createResultBase, observeRequestedBase } from './public-base.ts'
import type { LocalHints, SharedHints } from './replicas/local-hints.ts'
import { createResultLinks } from './results/links.ts'
import { serve, type Transports } from './serve.ts'
import { openServers, type Servers } from './servers.ts'
import type { Settings } from './settings.ts'
import { shutDown } from './shutdown.ts'
import { readVersions, systemClock, systemSecrets } from './system.ts'
import type { Clock } from './tasks/ports.ts'
import { NO_TRACING, type Tracing } from './tasks/tracing.ts'
import { startWorker } from './worker.ts'

/**
 * A running service. Disposing drains it: running work finishes, sockets are closed, all resources are
 * released.
 */
interface Service extends AsyncDisposable {
  /** The URL of GraphQL and everything else, e.g. `http://127.0.0.1:4000`. */
  readonly url: string
  /** The URL of callbacks; the same as `url` unless CALLBACK_PORT is set. */
  readonly callbackUrl: string
  /** The URL of metrics; the same as `url` unless METRICS_PORT is set; null: they are not served. */
  readonly metricsUrl: string | null
}

/** The parts that the process, or a test, may replace. */
export interface Overrides {
  readonly clock?: Clock
  /** Name servers to use instead of the system's: addresses with ports. */
  readonly nameServers?: readonly string[]
  /** The hints of a service on SQLite, for a test that writes into its database directly. */
  readonly hints?: LocalHints
  /**
   * The hints of a service on PostgreSQL, for a test or bench that writes into its database directly. The
   * caller disposes of them after the service.
   */
  readonly sharedHints?: SharedHints
  readonly limits?: Partial<HttpLimits>
  /** False: subscriptions on sockets run without the fast path. */
  readonly fast?: boolean
  /** The folder of the built console. Default: console/dist. */
  readonly consoleFolder?: string
  /** The duration of an upscale of the embedded sandbox. */
  readonly sandboxCompleteAfterMs?: number
  /** How long the circuit of an engine stays open. */
  readonly circuitResetMs?: number
  /** Default: nothing is traced. */
  readonly tracing?: Tracing
}

const toHints = ({ hints, sharedHints }: Overrides) => ({ hints, sharedHints })
const toServed = ({ fast, consoleFolder }: Overrides) => ({ fast, consoleFolder })

/** Builds the service from its parts, starts it, and resolves once it accepts requests. */
export async function startService(
  settings: Settings,
  log: Logger,
  overrides: Overrides = {},
): Promise<Service> {
  await using opened = new AsyncDisposableStack()
  const { clock = systemClock, tracing = NO_TRACING, nameServers = [], limits } = overrides
  let draining = false
  const isDraining = () => draining
  const metrics = createMetrics({ clock, log, versions: readVersions() })
  const shared = { pollsPerSecond: settings.pollsPerSecond, clock, log, tracing, onHint: metrics.onHint }
  const backends = opened.use(await openBackends(settings, { ...shared, ...toHints(overrides) }))
  const servers = opened.use(await openServers(settings, { log, limits, isDraining }))
  const open = () => openConnector(settings.proxies, { servers: nameServers })
  const connect = () => opened.use(open())
  // Not disposed of: the last messages to routers are sent while everything else closes.
  const routers = open().open()
  // Random for each process: the embedded sandbox serves only its own gateway.
  const sandboxKey = systemSecrets.newToken()
  const requestedBase = observeRequestedBase(servers.app, settings)
  const links = createResultLinks(createResultBase(settings, servers, requestedBase))
  const parts = { settings, servers, metrics, links, nameServers, clock, log, tracing, connect, isDraining }
  const core = opened.use(
    openCore({ ...parts, backends, sandboxKey, circuitResetMs: overrides.circuitResetMs }),
  )
  const sandbox = await addEmbeddedSandbox(parts, {
    apiKey: sandboxKey,
    requestedBase,
    completeAfterMs: overrides.sandboxCompleteAfterMs,
  })
  const { store, pool, hintsUp } = backends
  const { sockets, streams } = opened.use(
    await serve({ ...parts, ...toServed(overrides), core, routers, backends }),
  )
  const connections = { sockets: sockets.count, streams: streams.count, pool, hintsUp }
  metrics.observe({ connections, database: backends })
  await servers.listen()
  await sandbox?.resume()
  const workers = startWorkers(core, clock, log).map((worker) => opened.use(worker))
  announce(settings, { servers, store }, log)
  const rest = opened.move()
  return {
    url: servers.url(),
    callbackUrl: servers.callbackUrl(),
    metricsUrl: servers.metricsUrl(),
    [Symbol.asyncDispose]: () =>
      shutDown({
        ...toShutdownSteps({ core, workers, servers, sockets, streams }),
        drainMs: settings.drainMs,
        startDraining() {
          draining = true
          // Another process, or the next start, makes them again: they lose nothing.
          core.results.stop()
        },
        dispose: () => rest.disposeAsync(),
      }),
  }
}

interface RunningParts extends Pick<Transports, 'sockets' | 'streams'> {
  readonly core: Core
  readonly workers: ReturnType<typeof startWorkers>
  readonly servers: Servers
}

function toShutdownSteps({ core, workers, servers, sockets, streams }: RunningParts) {
  return {
    stopWorkers: () => Promise.all(workers.map((worker) => worker.stop())),
    drainClients: (windowMs: number) => Promise.all([sockets.drain(windowMs), streams.drain()]),
    drainTasks: core.tasks.drain,
    abortWork: () => core[Symbol.dispose](),
    cutOffClients: servers.cutOff,
  }
}

function startWorkers(
  { tasks, deliveries, results, queueAlarm, deliveryAlarm, resultAlarm }: Core,
  clock: Clock,
  log: Logger,
) {
  return [
    { name: 'polling', round: tasks.pollDue },
    { name: 'the queue', round: tasks.sendQueued, alarm: queueAlarm },
    { name: 'delivering', round: deliveries.deliverDue, alarm: deliveryAlarm },
    { name: 'inspecting', round: results.inspectDue, alarm: resultAlarm },
  ].map((worker) => startWorker({ ...worker, clock, log }))
}
