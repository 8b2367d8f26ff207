import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import { SignJWT } from 'jose'

export const SECRET = 'a-secret-of-at-least-thirty-two-bytes'

const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' }

const PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'

/**
 * A site of another origin than the gateway's, with a picture and a session: `/token` answers with a token of
 * Ann.
 */
export async function startClientSite() {
  let folder = ''
  let expiresInS = 600
  let waiting: (() => void)[] = []
  const server = createServer((request, response) => void answer(request.url ?? '/', response))
  const answer = async (path: string, response: ServerResponse) => {
    const { pathname } = new URL(path, 'http://site')
    if (pathname === '/token') {
      for (const resolve of waiting) resolve()
      waiting = []
      const jwt = new SignJWT({ sub: 'ann' }).setProtectedHeader({ alg: 'HS256' })
      const exp = Math.floor(Date.now() / 1_000) + expiresInS
      return response.end(await jwt.setExpirationTime(exp).sign(new TextEncoder().encode(SECRET)))
    }
    if (pathname === '/picture.svg')
      return response.writeHead(200, { 'content-type': 'image/svg+xml' }).end(PICTURE)
    const file = pathname === '/' ? '/index.html' : pathname
    const body = await readFile(join(folder, file)).catch(() => undefined)
    return response
      .writeHead(body ? 200 : 404, { 'content-type': TYPES[extname(file)] ?? 'text/plain' })
      .end(body)
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    serve: (built: string) => void (folder = built),
    /** From now on tokens are valid for this time. */
    signFor: (seconds: number) => void (expiresInS = seconds),
    /** Resolves when a page asks for a new token. */
    nextToken: () => new Promise<void>((resolve) => waiting.push(resolve)),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
