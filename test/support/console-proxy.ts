import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import { promisify } from 'node:util'
import { openTempDir } from './temp-dir.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
}
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob: http: https:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** Serves the console, built from its source, in front of a gateway that does not serve it. */
export async function startConsoleProxy(gatewayUrl: string, authentication: 'none' | 'bearer' = 'none') {
  await using opened = new AsyncDisposableStack()
  const { path: folder } = opened.use(await openTempDir())
  await promisify(execFile)('node_modules/.bin/vite', [
    'build',
    'console',
    '--outDir',
    folder,
    '--emptyOutDir',
    '--logLevel',
    'error',
  ])
  const { host, hostname, port } = new URL(gatewayUrl)
  const serve = async (path: string, response: ServerResponse) => {
    const body = await readFile(join(folder, path === '' ? 'index.html' : path)).catch(() => null)
    const type = TYPES[extname(path)] ?? 'text/html'
    response.writeHead(body ? 200 : 404, { 'content-type': type, 'content-security-policy': POLICY })
    response.end(body)
  }
  const forward = (incoming: IncomingMessage, response: ServerResponse) => {
    const { origin: _origin, ...headers } = incoming.headers
    const { url: path, method } = incoming
    const outgoing = request({ hostname, port, path, method, headers: { ...headers, host } }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    outgoing.on('error', () => response.destroy())
    incoming.pipe(outgoing)
  }
  const server = createServer((incoming, response) => {
    const path = (incoming.url ?? '').split('?')[0] ?? ''
    if (path === '/console/config.json')
      response.end(JSON.stringify({ mode: 'SANDBOX', version: '0.1.0', authentication, oidc: null }))
    else if (path.startsWith('/console/')) void serve(path.slice('/console/'.length), response)
    else forward(incoming, response)
  })
  server.on('upgrade', (incoming, socket, head) => {
    const upstream = connect(Number(port), hostname, () => {
      const headers = { ...incoming.headers, host, origin: gatewayUrl }
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${String(value)}\r\n`)
      upstream.write(`GET ${incoming.url ?? ''} HTTP/1.1\r\n${lines.join('')}\r\n`)
      upstream.write(head)
      upstream.pipe(socket).pipe(upstream)
    })
    upstream.on('error', () => socket.destroy())
    socket.on('error', () => upstream.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  opened.defer(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const rest = opened.move()
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/console/`,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
