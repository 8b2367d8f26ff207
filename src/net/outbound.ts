import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { openResolver, toLookup, type Resolve, type ResolverOptions } from './lookup.ts'
import { findProxy, NO_PROXIES, type Proxies } from './proxies.ts'
import { ProxiedHttpAgent, TunnelAgent } from './proxy-agents.ts'
import { onlyPublic } from './public-address.ts'

const TUNNEL_TIMEOUT_MS = 5_000

interface Agents {
  readonly http: HttpAgent
  readonly https: HttpsAgent
}

/**
 * Opens connections to one dependency. It resolves names separately, so a hanging name delays no other
 * dependency.
 */
export interface Connector extends Disposable {
  open(options?: OutboundOptions): Outbound
}

interface OutboundOptions {
  /** Whether connections are reused; default false. */
  readonly keepAlive?: boolean
  /**
   * Whether only public addresses are allowed. Connections of a proxy cannot be checked: the proxy must
   * refuse private addresses.
   */
  readonly guarded?: boolean
  /** The timeout for a proxy to open a tunnel; default 5 s. */
  readonly tunnelTimeoutMs?: number
}

/** Agents for requests, directly or through a proxy. Disposing closes idle connections. */
export interface Outbound extends Disposable {
  /** The agents for a request to this URL. */
  agentsFor(url: string): Agents
}

/** Disposing cancels pending DNS queries. */
export function openConnector(proxies: Proxies = NO_PROXIES, options: ResolverOptions = {}): Connector {
  const resolve = openResolver(options)
  return {
    open: (options = {}) => openOutbound(resolve, proxies, options),
    [Symbol.dispose]: () => resolve[Symbol.dispose](),
  }
}

function openOutbound(
  resolve: Resolve,
  proxies: Proxies,
  { keepAlive = false, guarded = false, tunnelTimeoutMs = TUNNEL_TIMEOUT_MS }: OutboundOptions,
): Outbound {
  const lookup = toLookup(guarded ? onlyPublic(resolve) : resolve)
  const direct = { http: new HttpAgent({ keepAlive, lookup }), https: new HttpsAgent({ keepAlive, lookup }) }
  const forProxy = { lookup: toLookup(resolve), keepAlive, tunnelTimeoutMs }
  const { http, https } = proxies
  const proxied = {
    http: http === null ? direct.http : new ProxiedHttpAgent({ ...forProxy, proxy: new URL(http) }),
    https: https === null ? direct.https : new TunnelAgent({ ...forProxy, proxy: new URL(https) }),
  }
  return {
    agentsFor: (url) => (findProxy(proxies, new URL(url)) === undefined ? direct : proxied),
    [Symbol.dispose]() {
      for (const { http, https } of [direct, proxied]) {
        http.destroy()
        https.destroy()
      }
    },
  }
}
