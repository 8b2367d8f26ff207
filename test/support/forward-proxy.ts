import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'

/** A forward proxy: sends http requests on, and opens tunnels. */
export interface ForwardProxy extends AsyncDisposable {
  readonly url: string
  /** What it was asked: method, target and Proxy-Authorization. */
  readonly asked: string[]
  /** The status by which it refuses from now on; 0: it refuses nothing; null: it does not answer. */
  refusal: number | null
  /** What it sends on, by the name that it was asked for. */
  readonly hosts: Record<string, string>
}

export async function startForwardProxy(): Promise<ForwardProxy> {
  const sockets = new Set<Socket>()
  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request
    proxy.asked.push(`${method} ${url} ${headers['proxy-authorization'] ?? ''}`.trim())
    if (proxy.refusal === null) return
    if (proxy.refusal > 0) {
      response.writeHead(proxy.refusal).end('<html>')
      return
    }
    const target = new URL(url)
    target.host = proxy.hosts[target.hostname] ?? target.host
    const onward = httpRequest(target, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 0, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('connect', ({ url = '', headers }, client: Socket) => {
    proxy.asked.push(`CONNECT ${url} ${headers['proxy-authorization'] ?? ''}`.trim())
    client.on('error', () => undefined)
    if (proxy.refusal === null) return
    if (proxy.refusal > 0) {
      client.end(`HTTP/1.1 ${proxy.refusal} No\r\n\r\n`)
      return
    }
    const { hostname } = new URL(`http://${url}`)
    const { port, hostname: host } = new URL(`http://${proxy.hosts[hostname] ?? url}`)
    const upstream = connect(Number(port), host, () => client.write('HTTP/1.1 200 OK\r\n\r\n'))
    upstream.on('error', () => client.destroy())
    client.pipe(upstream).pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy: ForwardProxy = {
    url: `http://user:p%40ss@127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    refusal: 0,
    hosts: {},
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
  return proxy
}
