import type { IncomingMessage } from 'node:http'
import type { Log } from '../tasks/ports.ts'

export interface AccessPolicy {
  /** Origins whose pages may send requests and open sockets, besides our own. */
  readonly corsOrigins: readonly string[]
  /** Whether pages on loopback hosts may, too: development servers on the caller's own machine. */
  readonly loopbackOrigins?: boolean
  /** Allowed values of the Host header, without ports; null: any. */
  readonly hosts: readonly string[] | null
  /** Called for each refusal. */
  onRefusedOrigin?(origin: string): void
}

const LOOPBACK_HOSTS = ['localhost', '127.0.0.1', '[::1]']

/**
 * Without authentication on a loopback address only our own hosts are allowed: any page could reach the
 * service by a host that resolves to it (DNS rebinding).
 */
export function toAllowedHosts(
  authenticates: boolean,
  host: string,
  publicUrls: readonly (string | null)[],
): string[] | null {
  const loopback = host === 'localhost' || host === '::1' || host.startsWith('127.')
  if (authenticates || !loopback) return null
  const own = publicUrls.filter((url) => url !== null).map((url) => new URL(url).hostname)
  return [...LOOPBACK_HOSTS, ...own]
}

/** `host[:port]`, without user info, path, query or fragment. */
const HOST = /^(?:[\w.~-]+|\[[\da-f:.]+\])(?::\d*)?$/i

/** Whether URLs can be built from a Host header. */
export function isHostValid(host: string | undefined): host is string {
  return host !== undefined && HOST.test(host) && URL.canParse(`http://${host}`)
}

export function isHostAllowed({ hosts }: AccessPolicy, host: string | undefined): boolean {
  if (hosts === null) return true
  const url = `http://${host ?? ''}`
  return URL.canParse(url) && hosts.includes(new URL(url).hostname)
}

/**
 * Whether this is `http(s)://HOST[:PORT]` of this machine, as browsers send it. `localhost.example.com` is
 * not.
 */
function isLoopbackOrigin(origin: string): boolean {
  if (!URL.canParse(origin)) return false
  const url = new URL(origin)
  const isWeb = url.protocol === 'http:' || url.protocol === 'https:'
  return isWeb && url.origin === origin && LOOPBACK_HOSTS.includes(url.hostname)
}

/** Whether pages of another origin may use the service. */
export function isCorsAllowed(
  { corsOrigins, loopbackOrigins = false }: AccessPolicy,
  origin: string,
): boolean {
  return corsOrigins.includes(origin) || (loopbackOrigins && isLoopbackOrigin(origin))
}

/** Whether pages of the request's origin may use the service. Only browsers send an Origin. */
export function isOriginAllowed(access: AccessPolicy, { headers }: IncomingMessage): boolean {
  const { origin, host = '' } = headers
  if (origin === undefined || isCorsAllowed(access, origin)) return true
  // The scheme may be that of a proxy. It determines the default port.
  const isOwn = URL.canParse(origin) && new URL(origin).host === toHost(new URL(origin).protocol, host)
  if (!isOwn) access.onRefusedOrigin?.(origin)
  return isOwn
}

function toHost(protocol: string, host: string): string | undefined {
  const url = `${protocol}//${host}`
  return host !== '' && URL.canParse(url) ? new URL(url).host : undefined
}

const MAX_ORIGINS_LOGGED = 100
const MAX_ORIGIN_LENGTH = 200

/** Logs each refused origin once, up to a limit, because clients can send any number of them. */
export function createRefusedOriginLog(log: Log): (origin: string) => void {
  const logged = new Set<string>()
  return (text) => {
    const origin = text.slice(0, MAX_ORIGIN_LENGTH)
    if (logged.has(origin) || logged.size > MAX_ORIGINS_LOGGED) return
    logged.add(origin)
    if (logged.size > MAX_ORIGINS_LOGGED)
      log.warn(
        {},
        `more than ${MAX_ORIGINS_LOGGED} origins were refused: no more are logged. Check CORS_ORIGINS`,
      )
    else log.warn({ origin }, 'a page of this origin is refused. To allow it, add it to CORS_ORIGINS')
  }
}
