import ipaddr from 'ipaddr.js'

/** The proxies for outbound requests: URLs with credentials, or null. */
export interface Proxies {
  readonly http: string | null
  readonly https: string | null
  /** Hosts that are connected directly, in the format of NO_PROXY. */
  readonly noProxy: readonly string[]
}

export const NO_PROXIES: Proxies = { http: null, https: null, noProxy: [] }

/** The proxy for a URL; undefined: none. Loopback addresses never use a proxy. */
export function findProxy({ http, https, noProxy }: Proxies, url: URL): URL | undefined {
  const proxy = url.protocol === 'https:' ? https : http
  const host = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  const port = url.port || (url.protocol === 'https:' ? '443' : '80')
  if (proxy === null || isLoopback(host)) return undefined
  return noProxy.some((entry) => matches(entry.toLowerCase(), host, port)) ? undefined : new URL(proxy)
}

function isLoopback(host: string): boolean {
  if (ipaddr.isValid(host)) return ipaddr.process(host).range() === 'loopback'
  return host === 'localhost' || host.endsWith('.localhost')
}

/**
 * An entry is `*`, a domain (with its subdomains), an address, or a range of addresses; all but `*` may have
 * a port.
 */
function matches(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true
  const [, name = '', entryPort] = /^(\[.*\]|[^:]*):(\d+)$/.exec(entry) ?? [entry, entry]
  if (entryPort !== undefined && entryPort !== port) return false
  const bare = name.replace(/^\[|\]$/g, '')
  if (ipaddr.isValid(host)) return matchesAddress(bare, ipaddr.process(host))
  const domain = bare.replace(/^\*?\./, '').replace(/\.$/, '')
  return domain !== '' && (host === domain || host.endsWith(`.${domain}`))
}

function matchesAddress(entry: string, address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  if (ipaddr.isValid(entry)) return ipaddr.process(entry).toString() === address.toString()
  if (!ipaddr.isValidCIDR(entry)) return false
  const [network, bits] = ipaddr.parseCIDR(entry)
  return network.kind() === address.kind() && address.match(network, bits)
}
