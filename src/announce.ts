import type { Logger } from 'pino'
import type { Servers } from './servers.ts'
import type { Settings } from './settings.ts'
import { readVersions } from './system.ts'
import type { Migrated } from './store/migrations/migrations.ts'
import type { Log } from './tasks/ports.ts'
import type { TaskStore } from './tasks/store-port.ts'
import type { Ready } from './terminal.ts'

interface Announced {
  readonly servers: Pick<Servers, 'url' | 'publicUrl' | 'metricsUrl'>
  readonly store: Pick<TaskStore, 'listOpenEngines'>
}

/** Logs the mode and the URL, and warns of settings that cause problems later. */
export function announce(settings: Settings, { servers, store }: Announced, log: Logger): void {
  const { mode, engines, engineFallback, upstreamTimeoutMs, taskDeadlineMs, auth, graphiql } = settings
  const urls = new Set(engines.flatMap(({ url }) => (url === null ? [] : [url])))
  const upstream = [...urls].join(' and ')
  if (mode === 'LIVE') log.info({ upstream }, 'LIVE mode: every new upscale costs credits')
  else if (urls.size === 0)
    log.warn(
      { mode },
      'SANDBOX mode: UPSTREAM_API_KEY is not set, so the built-in sandbox simulates upscales, which cost nothing',
    )
  else log.warn(`SANDBOX mode: UPSTREAM_API_KEY is not set, and upscales go to ${upstream}`)
  if (engineFallback && engines.length === 1)
    log.warn('ENGINE_FALLBACK is on, but ENGINES has one engine: there is none to move on to')
  void announceMissingEngines(settings, store, log)
  if (servers.publicUrl() === null)
    log.warn(
      'PUBLIC_URL is not set: the upstream cannot send callbacks, and results are found by polling only',
    )
  if (taskDeadlineMs <= upstreamTimeoutMs)
    log.warn(
      'TASK_DEADLINE_MS is not longer than UPSTREAM_TIMEOUT_MS: tasks may fail before they are accepted',
    )
  if (mode === 'LIVE' && auth.mode === 'none')
    log.warn(
      'AUTH_MODE=none: every caller can spend credits and see every task. Set AUTH_JWKS_URL or AUTH_JWT_SECRET instead',
    )
  const metricsUrl = servers.metricsUrl()
  if (metricsUrl === null)
    log.warn(
      'METRICS_PORT is not set: /metrics is not served. Set it to a port that only your monitoring reaches',
    )
  else log.info(`Metrics at ${metricsUrl}/metrics`)
  announceStore(settings, log)
  announceProxies(settings, log)
  const url = servers.url()
  const ready: Ready = { version: readVersions().version, mode, url, console: settings.console, upstream }
  log.info({ ready }, `GraphQL at ${url}/graphql${graphiql ? ' (open it in a browser for GraphiQL)' : ''}`)
}

/** Reports renamed and removed engines: results that are paid for would be lost. */
async function announceMissingEngines(
  { engines }: Settings,
  store: Announced['store'],
  log: Logger,
): Promise<void> {
  try {
    const open = await store.listOpenEngines()
    const missing = open.filter((name) => !engines.some((engine) => engine.name === name))
    if (missing.length > 0)
      log.error(
        { engines: missing },
        'ENGINES does not name engines of running tasks: the tasks cannot be sent or polled, and their callbacks are refused. Name these engines again',
      )
  } catch (error) {
    log.warn({ err: error }, 'failed to read the engines of running tasks')
  }
}

function announceStore({ mode, resultStore, database }: Settings, log: Logger): void {
  if (resultStore.kind === 'off' && mode === 'LIVE')
    log.warn(
      'RESULT_STORE is off: images have only the links of the upstream, which expire. Set it to keep copies',
    )
  if (resultStore.kind === 'file' && database.kind === 'postgres')
    log.warn(`RESULT_STORE: all replicas must share the folder ${resultStore.folder}`)
}

/** Logs the proxies, without credentials. */
function announceProxies({ proxies: { http, https } }: Settings, log: Logger): void {
  const origins = new Set([http, https].flatMap((proxy) => (proxy === null ? [] : [new URL(proxy).origin])))
  if (origins.size > 0)
    log.warn(
      `Requests leave through the proxy ${[...origins].join(' and ')}. It must refuse private destinations: the addresses of callback URLs cannot be checked behind it`,
    )
}

/** Logs a migration, including the first one of an empty database. */
export function logMigration({ from, to }: Migrated, log: Log): void {
  if (from !== to) log.info({ from, to }, `The database was migrated from ${from ?? 'empty'} to ${to}`)
}
