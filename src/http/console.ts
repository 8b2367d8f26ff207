import { readdir, readFile } from 'node:fs/promises'
import { extname, join, relative, sep } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { compressAsset, sendAsset, type Asset } from './assets.ts'
import { sendError } from './http-errors.ts'

/** What the console needs to know before it may call the service: `/console/config.json`. */
interface ConsoleConfig {
  readonly mode: 'SANDBOX' | 'LIVE'
  readonly version: string
  readonly authentication: 'none' | 'bearer'
  /** The OpenID provider for signing in; null: tokens are pasted. */
  readonly oidc: {
    readonly issuer: string
    readonly clientId: string
    readonly scope: string
    readonly audience: string | null
  } | null
}

interface ConsoleRoute {
  /** The folder with the built files. */
  readonly folder: string
  readonly config: ConsoleConfig
  /** Origins, besides our own, that the page connects to. */
  connectOrigins(): Promise<readonly string[]>
  /** Origins of pictures, besides our own and those with https. Called on a request. */
  pictureOrigins(): readonly string[]
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.webp': 'image/webp',
  '.woff2': 'font/woff2',
  '.json': 'application/json; charset=utf-8',
}
const INDEX = 'index.html'
/** Vite puts a hash of the content into the names in this folder. */
const HASHED = 'assets/'
const LEVEL = 9

/**
 * The console, at `/console/`: each built file has a route of its own, so no URL can name another file.
 * Public, because only its GraphQL operations need a token. Without a build, 503.
 */
export async function addConsoleRoutes(app: FastifyInstance, route: ConsoleRoute): Promise<void> {
  const files = await readFiles(route.folder)
  app.get('/console', (_request, reply) => reply.redirect('console/', 308))
  app.get('/console/config.json', (_request, reply) =>
    reply.header('cache-control', 'no-store').send(route.config),
  )
  for (const [name, bytes] of files) {
    let asset: Promise<Asset> | undefined
    app.get(`/console/${name === INDEX ? '' : name}`, async (request, reply) => {
      asset ??= compressAsset(bytes, TYPES[extname(name)] ?? 'application/octet-stream', LEVEL)
      if (name === INDEX) reply.header('content-security-policy', await toPolicy(route))
      const caching = name.startsWith(HASHED) ? 'public, max-age=31536000, immutable' : 'no-cache'
      reply.header('cache-control', caching).header('cross-origin-resource-policy', 'same-origin')
      return sendAsset(request, reply, await asset)
    })
  }
  if (!files.has(INDEX))
    app.get('/console/', (_request, reply) =>
      sendError(
        reply,
        503,
        'The console is not built: run `npm run build -w console`, and restart the service.',
      ),
    )
}

/** The files of a folder by their paths in it, with slashes. Empty: there is no such folder. */
async function readFiles(folder: string): Promise<ReadonlyMap<string, Buffer>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  const paths = entries
    // The build's stamp is not part of the page.
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
    .map(({ parentPath, name }) => join(parentPath, name))
  const read = async (path: string) =>
    [relative(folder, path).replaceAll(sep, '/'), await readFile(path)] as const
  return new Map(await Promise.all(paths.map(read)))
}

/** The page runs no script but its own files, and connects to this service and the OpenID provider only. */
async function toPolicy({ connectOrigins, pictureOrigins }: ConsoleRoute): Promise<string> {
  const connect = await connectOrigins()
  return Object.entries({
    'default-src': ["'none'"],
    'script-src': ["'self'"],
    'style-src': ["'self'"],
    'img-src': ["'self'", 'data:', 'blob:', 'https:', ...pictureOrigins()],
    'connect-src': ["'self'", ...connect],
    'font-src': ["'self'"],
    'base-uri': ["'none'"],
    'form-action': ["'none'"],
    'frame-ancestors': ["'none'"],
  })
    .map(([name, sources]) => `${name} ${sources.join(' ')}`)
    .join('; ')
}
