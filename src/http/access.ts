import type { IncomingMessage } from 'node:http'
import type { Log } from '../tasks/ports.ts'

export interface AccessPolicy {
  /** Origins whose pages may call us and open sockets, besides our own. */
  readonly corsOrigins: readonly string[]
  /** Hosts that a request may name; null: any. */
  readonly hosts: readonly string[] | null
  /** Called with each origin that is refused. */
  onRefusedOrigin?(origin: string): void
}

/** Loopback names. */
const LOOPBACK_HOSTS = ['localhost', '127.0.0.1', '[::1]']

/**
 * Which Host a request may name. Without authentication on a loopback address, any page could reach us by
 * a name of its own that resolves to it (DNS rebinding); there only the names that are ours are taken.
 */
export function toAllowedHosts(
  authenticates: boolean,
  host: string,
  publicUrl: string | null,
): string[] | null {
  const loopback = host === 'localhost' || host === '::1' || host.startsWith('127.')
  if (authenticates || !loopback) return null
  return publicUrl === null ? LOOPBACK_HOSTS : [...LOOPBACK_HOSTS, new URL(publicUrl).hostname]
}

/** `host[:port]`, without user info, path, query or fragment. */
const HOST = /^(?:[\w.~-]+|\[[\da-f:.]+\])(?::\d*)?$/i

/** Whether a Host header is one that URLs can be built from. */
export function isHostValid(host: string | undefined): host is string {
  return host !== undefined && HOST.test(host) && URL.canParse(`http://${host}`)
}

export function isHostAllowed({ hosts }: AccessPolicy, host: string | undefined): boolean {
  if (hosts === null) return true
  const url = `http://${host ?? ''}`
  return URL.canParse(url) && hosts.includes(new URL(url).hostname)
}

/** Whether pages of this origin may use the service: its own origin, or a listed one. Only browsers send an Origin. */
export function isOriginAllowed(access: AccessPolicy, { headers }: IncomingMessage): boolean {
  const { origin, host = '' } = headers
  if (origin === undefined || access.corsOrigins.includes(origin)) return true
  // The scheme is that of the proxy in front of us; it determines the default port.
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

/** Logs each refused origin once: a client may send any number of different ones. */
export function createRefusedOriginLog(log: Log): (origin: string) => void {
  const logged = new Set<string>()
  return (text) => {
    const origin = text.slice(0, MAX_ORIGIN_LENGTH)
    if (logged.has(origin) || logged.size > MAX_ORIGINS_LOGGED) return
    logged.add(origin)
    if (logged.size > MAX_ORIGINS_LOGGED)
      log.warn(
        {},
        `more than ${MAX_ORIGINS_LOGGED} origins were refused: no more of them are logged. Check CORS_ORIGINS`,
      )
    else
      log.warn(
        { origin },
        'a page of this origin is refused: to let it call the service and open sockets, add it to CORS_ORIGINS',
      )
  }
}
