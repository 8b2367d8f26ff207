import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { LookupFunction } from 'node:net'
import { guardLookup } from './guard.ts'
import { createLookup, type LookupOptions } from './lookup.ts'
import { findProxy, NO_PROXIES, type Proxies } from './proxies.ts'
import { ProxiedHttpAgent, TunnelAgent } from './proxy-agents.ts'

const TUNNEL_TIMEOUT_MS = 5_000

export interface Agents {
  readonly http: HttpAgent
  readonly https: HttpsAgent
}

/** How one dependency is reached. Has a lookup of its own, so that no dependency waits for the names of another. */
export interface Connector extends Disposable {
  open(options?: OutboundOptions): Outbound
}

export interface OutboundOptions {
  /** Whether connections are kept for the next request; false unless said. */
  readonly keepAlive?: boolean
  /** Whether names may lead to public addresses only. A proxy's connections cannot be guarded: it has to refuse by itself. */
  readonly guarded?: boolean
  /** How long a proxy has to open a tunnel; five seconds unless said. */
  readonly tunnelTimeoutMs?: number
}

/** Agents for requests, directly or through a proxy. Disposing closes idle connections. */
export interface Outbound extends Disposable {
  /** The agents for a request to this URL. */
  agentsFor(url: string): Agents
}

/** Disposing cancels lookups that are under way. */
export function createConnector(proxies: Proxies = NO_PROXIES, options: LookupOptions = {}): Connector {
  const lookup = createLookup(options)
  return {
    open: (options = {}) => createOutbound(lookup, proxies, options),
    [Symbol.dispose]: () => lookup[Symbol.dispose](),
  }
}

function createOutbound(
  lookup: LookupFunction,
  proxies: Proxies,
  { keepAlive = false, guarded = false, tunnelTimeoutMs = TUNNEL_TIMEOUT_MS }: OutboundOptions,
): Outbound {
  const direct = toDirect({ keepAlive, lookup: guarded ? guardLookup(lookup) : lookup })
  // One pair for each proxy: at most two.
  const proxied = new Map<string, Agents>()
  return {
    agentsFor(url) {
      const proxy = findProxy(proxies, new URL(url))
      if (proxy === undefined) return direct
      let agents = proxied.get(proxy.href)
      if (agents === undefined) {
        const each = { proxy, lookup, keepAlive, tunnelTimeoutMs }
        agents = { http: new ProxiedHttpAgent(each), https: new TunnelAgent(each) }
        proxied.set(proxy.href, agents)
      }
      return agents
    },
    [Symbol.dispose]() {
      for (const { http, https } of [direct, ...proxied.values()]) {
        http.destroy()
        https.destroy()
      }
    },
  }
}

function toDirect(options: { keepAlive: boolean; lookup: LookupFunction }): Agents {
  return { http: new HttpAgent(options), https: new HttpsAgent(options) }
}
