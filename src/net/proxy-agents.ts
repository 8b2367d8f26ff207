import { Agent as HttpAgent, request as httpRequest, type ClientRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from 'node:https'
import { connect, isIP, type LookupFunction, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { urlToHttpOptions } from 'node:url'

interface ProxyAgentOptions {
  /** With credentials. */
  readonly proxy: URL
  /** Resolves the proxy's name; the proxy resolves the names of targets. */
  readonly lookup: LookupFunction
  readonly keepAlive: boolean
  /** The timeout for the proxy to open a tunnel, and then for the TLS handshake with the target. */
  readonly tunnelTimeoutMs: number
}

/**
 * Sends http requests to a proxy. Node's agent formats them for the proxy, but resolves names with
 * `getaddrinfo`.
 */
export class ProxiedHttpAgent extends HttpAgent {
  readonly #options: ProxyAgentOptions

  constructor(options: ProxyAgentOptions) {
    super({ keepAlive: options.keepAlive, proxyEnv: { HTTP_PROXY: options.proxy.href } })
    this.#options = options
  }

  override createConnection(): Duplex {
    const address = toAddress(this.#options)
    return this.#options.proxy.protocol === 'https:' ? connectTls(address) : connect(address)
  }
}

type OnConnection = (error: Error | null, connection: Duplex) => void

/**
 * Sends https requests through a tunnel that a proxy opens (CONNECT). A request gets its connection only
 * after the TLS handshake with the target. Without a connection, nothing was sent.
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
    const request = requestTunnel(this.#options, `${toUrlHost(options.host ?? '')}:${options.port ?? 443}`)
    request.once('error', onError)
    request.once('connect', ({ statusCode = 0 }, socket: Socket) => {
      socket.setTimeout(0)
      if (statusCode >= 200 && statusCode < 300) {
        this.#startTls({ ...options, socket }, onError, callback)
        return
      }
      socket.destroy()
      const reason = `refused a tunnel to ${request.path}: status ${statusCode}`
      onError(new Error(`The proxy ${this.#options.proxy.host} ${reason}`))
    })
  }

  #startTls(
    options: RequestOptions & { readonly socket: Socket },
    onError: (error: Error) => void,
    callback?: OnConnection,
  ): void {
    const secure = super.createConnection(options)
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
  }
}

function requestTunnel(options: ProxyAgentOptions, target: string): ClientRequest {
  const { proxy, tunnelTimeoutMs } = options
  const { auth } = urlToHttpOptions(proxy)
  const credentials = auth && { 'proxy-authorization': `Basic ${Buffer.from(auth).toString('base64')}` }
  const request = (proxy.protocol === 'https:' ? httpsRequest : httpRequest)({
    ...toAddress(options),
    method: 'CONNECT',
    path: target,
    agent: false,
    headers: { host: target, ...credentials },
  })
  request.setTimeout(tunnelTimeoutMs, () =>
    request.destroy(new Error(`The proxy ${proxy.host} opened no tunnel in time`)),
  )
  return request.end()
}

function toAddress({ proxy: { hostname, port, protocol }, lookup }: ProxyAgentOptions) {
  const host = hostname.replace(/^\[|\]$/g, '')
  // An IP address is not a valid server name (RFC 6066 §3).
  const servername = isIP(host) === 0 ? host : ''
  return { host, port: Number(port || (protocol === 'https:' ? 443 : 80)), servername, lookup }
}

function toUrlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
