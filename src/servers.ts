import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { createRefusedOriginLog, toAllowedHosts, type AccessPolicy } from './http/access.ts'
import { createHttpApp, type HttpLimits } from './http/app.ts'
import type { Settings } from './settings.ts'
import type { Log } from './tasks/ports.ts'

/**
 * The HTTP servers: one for everything, one for callbacks if CALLBACK_PORT is set, and one for metrics if
 * METRICS_PORT is.
 */
export interface Servers extends AsyncDisposable {
  readonly app: FastifyInstance
  /** The same as `app` unless CALLBACK_PORT is set. */
  readonly callbackApp: FastifyInstance
  /** The server of `/metrics`; null: it is not served. */
  readonly metricsApp: FastifyInstance | null
  readonly access: AccessPolicy
  /** The URL of `app` on this machine, e.g. `http://127.0.0.1:4000`; known once it listens. */
  url(): string
  callbackUrl(): string
  /** Null: `/metrics` is not served. */
  metricsUrl(): string | null
  /** The base of callback URLs; null: the upstream cannot reach this service. */
  publicUrl(): string | null
  listen(): Promise<void>
  /** Destroys all connections. */
  cutOff(): void
}

interface ServerOptions {
  readonly log: Log
  readonly limits?: Partial<HttpLimits> | undefined
  isDraining(): boolean
}

export async function openServers(
  settings: Settings,
  { log, limits, isDraining }: ServerOptions,
): Promise<Servers> {
  const { host, port, callbackPort, metricsPort, publicUrl, keepAliveTimeoutMs, mode } = settings
  const access = toAccessPolicy(settings, log)
  const options = { access, log, keepAliveMs: keepAliveTimeoutMs, isDraining, ...(limits && { limits }) }
  const app = await createHttpApp({ ...options, hint: toHint(settings) })
  const callbackApp = callbackPort === null ? app : await createHttpApp(options)
  const metricsPlace = toMetricsPlace(settings)
  const sharedApp = metricsPlace === 'shared' ? app : null
  const metricsApp = metricsPlace === 'own' ? await createHttpApp(options) : sharedApp
  const ports = new Map([[app, port]])
  if (callbackApp !== app) ports.set(callbackApp, callbackPort ?? 0)
  if (metricsApp !== null && metricsApp !== app) ports.set(metricsApp, metricsPort ?? 0)
  const apps = [...ports.keys()]
  /** Kept, because a closing server has no address. With PORT=0 the system chooses the port at `listen`. */
  const urls = new Map<FastifyInstance, string>()
  const toUrl = (server: FastifyInstance) => {
    const url = urls.get(server)
    if (url === undefined) throw new Error('The server does not listen yet')
    return url
  }
  return {
    app,
    callbackApp,
    metricsApp,
    access,
    url: () => toUrl(app),
    callbackUrl: () => toUrl(callbackApp),
    metricsUrl: () => metricsApp && toUrl(metricsApp),
    publicUrl: () => publicUrl ?? (mode === 'SANDBOX' ? toUrl(callbackApp) : null),
    async listen() {
      for (const [each, port] of ports) {
        await each.listen({ host, port })
        urls.set(each, readUrl(each, host))
      }
    },
    cutOff: () => apps.forEach(({ server }) => server.closeAllConnections()),
    async [Symbol.asyncDispose]() {
      await Promise.all(apps.map((each) => each.close()))
    },
  }
}

/** Where `/metrics` is served. Not beside GraphQL in live mode, unless METRICS_PORT says so. */
function toMetricsPlace({ metricsPort, port, mode }: Settings): 'own' | 'shared' | 'nowhere' {
  if (metricsPort === null) return mode === 'SANDBOX' ? 'shared' : 'nowhere'
  return metricsPort === port && port !== 0 ? 'shared' : 'own'
}

/** What the server of GraphQL serves. */
function toHint({ console }: Settings): string {
  return `GraphQL is at /graphql${console ? ', the console at /console/' : ''}.`
}

function toAccessPolicy(settings: Settings, log: Log): AccessPolicy {
  const { corsOrigins, auth, host, publicUrl, resultUrl, mode } = settings
  return {
    corsOrigins,
    loopbackOrigins: mode === 'SANDBOX',
    hosts: toAllowedHosts(auth.mode !== 'none', host, [publicUrl, resultUrl]),
    onRefusedOrigin: createRefusedOriginLog(log),
  }
}

/** Whether a server listens on all addresses. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

function readUrl({ server }: FastifyInstance, host: string): string {
  const { port } = server.address() as AddressInfo
  const name = isWildcard(host) ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host
  return `http://${name}:${port}`
}
