import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { extname } from 'node:path'

const DIST = new URL('../../console/dist/', import.meta.url)
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob: https:; connect-src 'self'; " +
  "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
}

/** Serves the built console at /console/, before a gateway that does not serve it. */
export async function startConsoleFront(target: string, config: object) {
  const { hostname, port } = new URL(target)
  const forward = (incoming: IncomingMessage, response: ServerResponse) => {
    const { url: path, method, headers } = incoming
    const outgoing = request({ hostname, port, path, method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    outgoing.on('error', () => response.destroy())
    incoming.pipe(outgoing)
  }
  const serve = async (path: string, response: ServerResponse) => {
    if (path === 'config.json') {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(config))
      return
    }
    const file = new URL(path === '' ? 'index.html' : path, DIST)
    const type = TYPES[extname(file.pathname)] ?? 'application/octet-stream'
    const body = await readFile(file)
    response.writeHead(200, { 'content-type': type, 'content-security-policy': POLICY }).end(body)
  }
  const server = createServer((incoming, response) => {
    const { pathname } = new URL(incoming.url ?? '/', target)
    if (!pathname.startsWith('/console/')) forward(incoming, response)
    else
      serve(pathname.slice('/console/'.length), response).catch(() => {
        response.writeHead(404).end()
      })
  })
  server.on('upgrade', (incoming, client) => {
    const upstream = connect(Number(port), hostname, () => {
      const lines = Object.entries(incoming.headers).map(([name, value]) => `${name}: ${String(value)}`)
      upstream.write(`GET ${incoming.url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
      upstream.pipe(client)
      client.pipe(upstream)
    })
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on('error', () => undefined)
      from.on('close', () => to.destroy())
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
