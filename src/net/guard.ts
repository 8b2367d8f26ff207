import { isIP } from 'node:net'
import type { Connector, Outbound } from './outbound.ts'
import { isPublicAddress, PrivateAddressError } from './public-address.ts'

/** Agents for requests to URLs that callers or the upstream have sent. Disposing closes connections. */
export interface Guard extends Disposable {
  /**
   * Agents for one request. Each connection is new, and its address is checked after DNS resolution, because
   * a name may resolve differently each time. Allowed hosts are not checked.
   * @throws PrivateAddressError if the host is an IP address that is not public, even if a proxy would
   * connect to it
   */
  agentsFor(url: string): ReturnType<Outbound['agentsFor']>
}

/**
 * Restricts requests to public addresses and to the allowed hosts. An allowed host is an exact name or
 * address as in a URL; with `:port` it allows only this port.
 */
export function openGuard(connector: Connector, allowedHosts: () => readonly string[]): Guard {
  // No keep-alive: a reused connection would skip the address check.
  const guarded = connector.open({ guarded: true })
  const unguarded = connector.open()
  return {
    agentsFor(url) {
      const target = new URL(url)
      if (isAllowed(target, allowedHosts())) return unguarded.agentsFor(url)
      const address = target.hostname.replace(/^\[|\]$/g, '')
      if (isIP(address) !== 0 && !isPublicAddress(address))
        throw new PrivateAddressError(target.hostname, [address])
      return guarded.agentsFor(url)
    },
    [Symbol.dispose]() {
      guarded[Symbol.dispose]()
      unguarded[Symbol.dispose]()
    },
  }
}

function isAllowed({ hostname, port, protocol }: URL, allowedHosts: readonly string[]): boolean {
  const usedPort = port || (protocol === 'https:' ? '443' : '80')
  return allowedHosts.includes(hostname) || allowedHosts.includes(`${hostname}:${usedPort}`)
}
