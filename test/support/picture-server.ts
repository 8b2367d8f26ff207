import { existsSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readdir } from 'node:fs/promises'
import { once } from 'node:events'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openConnector } from '../../src/net/outbound.ts'
import { NO_PROXIES } from '../../src/net/proxies.ts'
import { openDecoder } from '../../src/results/decoder.ts'
import { openPictureSource } from '../../src/results/picture-source.ts'
import type { DownloadedPicture } from '../../src/results/pictures.ts'
import { systemClock } from '../../src/system.ts'
import { startDnsServer } from './dns-server.ts'
import { openTempDir } from './temp-dir.ts'

export type PictureAnswer = (response: ServerResponse, request: IncomingMessage) => void

/** A server that answers as a test says, over real HTTP. */
export interface PictureServer extends AsyncDisposable {
  readonly url: string
  /** Address and port. */
  readonly host: string
  readonly port: number
  readonly received: IncomingMessage[]
  /** How many connections are open. */
  connections(): Promise<number>
  answer: PictureAnswer
}

export async function startPictureServer(answer: PictureAnswer): Promise<PictureServer> {
  const http = createServer((request, response) => {
    server.received.push(request)
    server.answer(response, request)
  }).listen(0, '127.0.0.1')
  await once(http, 'listening')
  const { port } = http.address() as AddressInfo
  const server: PictureServer = {
    url: `http://127.0.0.1:${port}`,
    host: `127.0.0.1:${port}`,
    port,
    received: [],
    connections: promisify(http.getConnections.bind(http)),
    answer,
    async [Symbol.asyncDispose]() {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
  return server
}

/** Answers with a body, and its length. */
export function serve(body: Buffer | string, headers: Record<string, string> = {}): PictureAnswer {
  const length = { 'content-length': Buffer.byteLength(body) }
  return (response) =>
    response.writeHead(200, { 'content-type': 'image/png', ...length, ...headers }).end(body)
}

/** Answers each path with the next location, and the last with a body. */
export function redirectAlong(locations: readonly string[], body: Buffer): PictureAnswer {
  return (response, { url }) => {
    const step = Number(/\d+$/.exec(url ?? '')?.[0] ?? 0)
    const location = locations[step]
    if (location === undefined) serve(body)(response, response.req)
    else response.writeHead(302, { location }).end('moved')
  }
}

type SourceOptions = Parameters<typeof openPictureSource>[0]

/** A source of pictures, a server that it may reach, and names that all resolve to this machine. */
export async function openPictureScene(options: Partial<SourceOptions> = {}) {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const server = opened.use(await startPictureServer(serve('')))
  const dns = opened.use(await startDnsServer((_name, type) => (type === 'A' ? '127.0.0.1' : 'NODATA')))
  const files = { hosts: join(dir.path, 'none'), resolvConf: join(dir.path, 'none') }
  const connector = opened.use(openConnector(NO_PROXIES, { servers: [dns.address], ...files }))
  const folder = join(dir.path, 'pictures')
  const logged: string[] = []
  const log = (facts: object, sentence: string) => void logged.push(`${sentence} ${JSON.stringify(facts)}`)
  const source = opened.use(
    openPictureSource({
      connector,
      decoder: opened.use(openDecoder({ info: log, warn: log, error: log })),
      allowedHosts: () => [server.host],
      folder,
      clock: systemClock,
      log: { info: log, warn: log, error: log },
      ...options,
    }),
  )
  const rest = opened.move()
  return {
    server,
    source,
    folder,
    logged,
    download: (url = `${server.url}/picture`, signal = new AbortController().signal) =>
      source.download(url, signal),
    /** The temporary files that exist now. */
    files: () => (existsSync(folder) ? readdir(folder) : Promise.resolve([])),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

export type PictureScene = Awaited<ReturnType<typeof openPictureScene>>

/** The downloaded picture; throws the reason if it is unusable. */
export async function downloadPicture(scene: PictureScene, url?: string): Promise<DownloadedPicture> {
  const result = await scene.download(url)
  if (result.kind === 'unusable') throw new Error(result.reason)
  return result
}
