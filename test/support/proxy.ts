import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** Stands between a client and a server, and can fall silent: connections stay, and nothing passes. */
export interface SilentProxy extends AsyncDisposable {
  /** The server's URL, by way of the proxy. */
  readonly url: string
  /** How many connections there are. */
  count(): number
  /** From now on nothing passes on the connections that there are; on new ones only with `andNew`. */
  silence(andNew?: boolean): void
  /** New connections work again; those that fell silent stay so. */
  speak(): void
  /** Cuts the connections that there are, and refuses new ones. */
  refuse(): Promise<void>
  /** Cuts the connections that there are; new ones lead to this server. */
  leadTo(target: string): void
  /** Accepts connections again, on the same port. */
  accept(): Promise<void>
}

export async function startSilentProxy(target: string): Promise<SilentProxy> {
  const url = new URL(target)
  let { hostname, port: targetPort } = url
  const pairs = new Set<readonly [Socket, Socket]>()
  let silent = false
  const server = createServer((client) => {
    const upstream = connect(Number(targetPort), hostname)
    const pair = [client, upstream] as const
    pairs.add(pair)
    for (const [from, to] of [pair, [upstream, client] as const]) {
      from.on('error', () => undefined)
      from.on('close', () => {
        to.destroy()
        pairs.delete(pair)
      })
      if (!silent) from.pipe(to)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  url.host = `127.0.0.1:${port}`
  const stop = async () => {
    for (const pair of pairs) for (const socket of pair) socket.destroy()
    server.close()
    await once(server, 'close')
  }
  return {
    url: url.href,
    count: () => pairs.size,
    silence(andNew = false) {
      silent = andNew
      for (const [client, upstream] of pairs) {
        client.unpipe(upstream)
        upstream.unpipe(client)
      }
    },
    speak: () => void (silent = false),
    refuse: stop,
    leadTo(other) {
      ;({ hostname, port: targetPort } = new URL(other))
      for (const pair of pairs) for (const socket of pair) socket.destroy()
    },
    async accept() {
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
    async [Symbol.asyncDispose]() {
      if (server.listening) await stop()
    },
  }
}
