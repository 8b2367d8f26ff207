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

/** Opens connections to one dependency. It has its own DNS lookup, so a hanging name delays no other dependency. */
export interface Connector extends Disposable {
  open(options?: OutboundOptions): Outbound
}

export interface OutboundOptions {
  /** Whether connections are reused; default false. */
  readonly keepAlive?: boolean
  /** Whether only public addresses are allowed. A proxy's connections cannot be checked: the proxy has to refuse others. */
  readonly guarded?: boolean
  /** How long a proxy has to open a tunnel; default 5 s. */
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
