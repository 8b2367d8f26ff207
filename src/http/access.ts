import type { IncomingMessage } from 'node:http'

export interface AccessPolicy {
  /** Origins whose pages may call us and open sockets, besides our own. */
  readonly corsOrigins: readonly string[]
  /** Hosts that a request may name; null: any. */
  readonly hosts: readonly string[] | null
}

/** The names under which one's own machine is reached. */
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

/** `host[:port]` without anything that URLs give another meaning: user info, a path, a query, a fragment. */
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

/** Whether a page of this origin may open a socket. Programs name no origin; browsers always do. */
export function isOriginAllowed({ corsOrigins }: AccessPolicy, { headers }: IncomingMessage): boolean {
  const { origin, host } = headers
  if (origin === undefined) return true
  return corsOrigins.includes(origin) || (URL.canParse(origin) && new URL(origin).host === host)
}
