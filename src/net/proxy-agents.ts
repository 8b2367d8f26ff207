import { Agent as HttpAgent, request as httpRequest, type ClientRequestArgs } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from 'node:https'
import { connect, type LookupFunction, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, TLSSocket } from 'node:tls'

export interface ProxyAgentOptions {
  /** With credentials. */
  readonly proxy: URL
  /** Resolves the proxy's name; names of targets are resolved by the proxy. */
  readonly lookup: LookupFunction
  readonly keepAlive: boolean
  /** How long a proxy has to open a tunnel, and then the target for the TLS handshake: a request cannot end before. */
  readonly tunnelTimeoutMs: number
}

type OnConnection = (error: Error | null, connection: Duplex) => void

/** Sends http requests to a proxy. Node's agent formats them for the proxy; this one resolves the proxy's name. */
export class ProxiedHttpAgent extends HttpAgent {
  readonly #proxy: URL
  readonly #lookup: LookupFunction

  constructor({ proxy, lookup, keepAlive }: Omit<ProxyAgentOptions, 'tunnelTimeoutMs'>) {
    super({ keepAlive, proxyEnv: { HTTP_PROXY: proxy.href } })
    this.#proxy = proxy
    this.#lookup = lookup
  }

  override createConnection(): Duplex {
    const target = { ...toAddress(this.#proxy), lookup: this.#lookup }
    if (this.#proxy.protocol === 'http:') return connect(target)
    return connectTls({ ...target, servername: toServerName(target.host) })
  }
}

/**
 * Sends https requests through a tunnel that a proxy opens (CONNECT). The request gets its connection only after the TLS
 * handshake with the target: until then, nothing of it was sent.
 */
export class TunnelAgent extends HttpsAgent {
  readonly #options: ProxyAgentOptions

  constructor(options: ProxyAgentOptions) {
    super({ keepAlive: options.keepAlive })
    this.#options = options
  }

  override createConnection(options: RequestOptions, callback?: OnConnection): undefined {
    // Node's types require a connection beside the error; there is none.
    const onError = (error: Error) => (callback as ((error: Error) => void) | undefined)?.(error)
    openTunnel(this.#options, options, onError, (socket) => {
      // As for a direct connection, but over an existing socket.
      const secure = super.createConnection(Object.assign({}, options, { socket }))
      if (!(secure instanceof TLSSocket)) return
      const onTimeout = () => secure.destroy(new Error('The TLS handshake through the proxy took too long'))
      secure.setTimeout(this.#options.tunnelTimeoutMs, onTimeout)
      secure.once('error', onError)
      secure.once('secureConnect', () => {
        secure.off('error', onError)
        secure.setTimeout(0)
        secure.off('timeout', onTimeout)
        callback?.(null, secure)
      })
    })
  }
}

function openTunnel(
  { proxy, lookup, tunnelTimeoutMs }: ProxyAgentOptions,
  { host, port }: ClientRequestArgs,
  fail: (error: Error) => void,
  open: (socket: Socket) => void,
): void {
  const target = `${host?.includes(':') ? `[${host}]` : host}:${port ?? 443}`
  const request = proxy.protocol === 'https:' ? httpsRequest : httpRequest
  const address = toAddress(proxy)
  const connecting = request({
    ...address,
    servername: toServerName(address.host),
    lookup,
    method: 'CONNECT',
    path: target,
    agent: false,
    headers: { host: target, ...toAuthorization(proxy) },
  })
  connecting.setTimeout(tunnelTimeoutMs, () =>
    connecting.destroy(new Error(`The proxy ${proxy.host} opened no tunnel in time`)),
  )
  connecting.once('error', fail)
  connecting.once('connect', ({ statusCode = 0 }, socket: Socket) => {
    socket.setTimeout(0)
    if (statusCode >= 200 && statusCode < 300) {
      open(socket)
      return
    }
    socket.destroy()
    fail(new Error(`The proxy ${proxy.host} refused a tunnel to ${target}: status ${statusCode}`))
  })
  connecting.end()
}

function toAddress({ protocol, hostname, port }: URL): { host: string; port: number } {
  const host = hostname.replace(/^\[|\]$/g, '')
  return { host, port: Number(port || (protocol === 'https:' ? 443 : 80)) }
}

/** An IP address is not a valid server name (RFC 6066 §3). */
function toServerName(host: string): string {
  return /^[\d.]+$|:/.test(host) ? '' : host
}

function toAuthorization({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {}
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return { 'proxy-authorization': `Basic ${Buffer.from(credentials).toString('base64')}` }
}
