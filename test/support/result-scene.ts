import { createHash, randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from '@jest/globals'
import { createClient } from 'graphql-ws'
import sharp from 'sharp'
import { WebSocket } from 'ws'
import { openTestDatabase } from './database.ts'
import { serve, startPictureServer } from './picture-server.ts'
import { startProcess } from './process.ts'
import { json, startScriptedUpstream } from './scripted-upstream.ts'
import { openTempDir } from './temp-dir.ts'

const FIELDS = 'id status version images { url copyState sha256 width } history { note }'

export interface ResultTask {
  readonly id: string
  readonly status: string
  readonly version: number
  readonly images:
    | readonly {
        readonly url: string
        readonly copyState: string
        readonly sha256: string | null
        readonly width: number | null
      }[]
    | null
  readonly history: readonly { readonly note: string }[]
}

export type ResultService = Awaited<ReturnType<typeof startProcess>>

/** A submitted task, and where its callback goes. */
export interface SubmittedTask {
  readonly id: string
  readonly upstreamTaskId: string
  readonly callBackPath: string
}

/** A picture of 256 by 256 pixels, 192 KiB in all, that differs from all others. */
export function drawNoise(): Promise<Buffer> {
  const [width, height] = [256, 256]
  return sharp(randomBytes(width * height * 3), { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer()
}

/** A database, an upstream, a server of pictures and a folder of copies, for services that are processes. */
export async function openResultScene() {
  await using opened = new AsyncDisposableStack()
  const database = opened.use(await openTestDatabase())
  const dir = opened.use(await openTempDir())
  const upstream = opened.use(await startScriptedUpstream())
  const pictures = new Map<string, Buffer>()
  const servePicture = (response: ServerResponse, path = response.req.url ?? '') =>
    serve(pictures.get(path) ?? '')(response, response.req)
  const server = opened.use(await startPictureServer((response) => servePicture(response)))
  const created = new Map<string, SubmittedTask>()
  upstream.onCreate = (response, request) => {
    const { taskId, callBackUrl } = JSON.parse(request.body) as { taskId: string; callBackUrl: string }
    const { pathname } = new URL(callBackUrl)
    const upstreamTaskId = `upstream-${taskId}`
    created.set(taskId, { id: pathname.split('/')[3] ?? '', upstreamTaskId, callBackPath: pathname })
    json(200, { code: 200, data: { taskId: upstreamTaskId } })(response, request)
  }
  const folder = join(dir.path, 'results')
  // Tests that run at once start many services, and a PostgreSQL server has 100 connections by default.
  const start = (settings: Record<string, string> = {}) =>
    startProcess({
      DATABASE_URL: database.url,
      POOL_SIZE: '4',
      UPSTREAM_URL: upstream.url,
      UPSTREAM_RATE_LIMIT: '0',
      OWNER_RATE_LIMIT: '0',
      POLL_INTERVAL_MS: '60000',
      RESULT_ALLOW_HOSTS: '127.0.0.1',
      RESULT_STORE: `file:${folder}`,
      RESULT_INSPECT_MS: '60000',
      ...settings,
    })
  const rest = opened.move()
  return {
    database,
    upstream,
    server,
    folder,
    start,
    servePicture,
    /** Adds a picture to the server; its URL. */
    async add(name: string, picture?: Buffer): Promise<string> {
      pictures.set(`/${name}`, picture ?? (await drawNoise()))
      return `${server.url}/${name}`
    },
    bytesOf: (url: string) => pictures.get(new URL(url).pathname),
    async submit(service: ResultService, name: string): Promise<SubmittedTask> {
      await service.run(
        `mutation { upscaleImage(input: {taskId: "${name}", imageIndex: 0}) { task { id } } }`,
      )
      const task = created.get(name)
      if (task === undefined) throw new Error(`The task was not submitted:\n${service.output()}`)
      return task
    },
    /** How often the picture of this URL was requested. */
    requestsFor: (url: string) =>
      server.received.filter((each) => server.url + (each.url ?? '') === url).length,
    /** The paid requests. */
    payments: () => upstream.received.filter(({ method }) => method === 'POST').length,
    /** The names of the files in the store, without temporary files of downloads. */
    copies: () => listCopies(folder),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

export type ResultScene = Awaited<ReturnType<typeof openResultScene>>

/** Sends a callback as the upstream does; the status of the answer. */
export async function callBack(
  service: ResultService,
  { upstreamTaskId, callBackPath }: SubmittedTask,
  ...resultUrls: readonly string[]
): Promise<number> {
  const body = JSON.stringify({ code: 200, data: { taskId: upstreamTaskId, resultUrls } })
  return (await fetch(service.url + callBackPath, { method: 'POST', body })).status
}

export async function readTask(service: ResultService, { id }: SubmittedTask): Promise<ResultTask> {
  const { data } = (await service.run(`{ upscaleTask(id: "${id}") { ${FIELDS} } }`)) as {
    data: { upscaleTask: ResultTask }
  }
  return data.upscaleTask
}

/** Follows a task until it settles; its last state. */
export async function followTask(service: ResultService, { id }: SubmittedTask): Promise<ResultTask> {
  const client = createClient({
    url: `${service.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
  })
  const query = `subscription { taskUpdated(id: "${id}") { ${FIELDS} } }`
  let last: ResultTask | undefined
  for await (const { data } of client.iterate<{ taskUpdated: ResultTask }>({ query }))
    last = data?.taskUpdated ?? last
  await client.dispose()
  if (last === undefined) throw new Error('The subscription ended without a state')
  return last
}

/** Ends a service as a crash does. */
export async function killService(service: ResultService): Promise<void> {
  service.child.kill('SIGKILL')
  await service.exited
}

const toSha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

/** Checks that a task has settled with kept copies of these pictures, whose links serve the same bytes. */
export async function expectKept(
  scene: ResultScene,
  task: ResultTask,
  ...urls: readonly string[]
): Promise<void> {
  const originals = urls.map((url) => scene.bytesOf(url) ?? Buffer.alloc(0))
  expect(task).toMatchObject({
    status: 'SUCCEEDED',
    images: originals.map((bytes) => ({ copyState: 'KEPT', sha256: toSha256(bytes), width: 256 })),
  })
  for (const [position, { url }] of (task.images ?? []).entries()) {
    expect(url).toContain(`/results/${task.id}/${position}/`)
    const response = await fetch(url)
    expect(toSha256(Buffer.from(await response.arrayBuffer()))).toBe(
      toSha256(originals[position] ?? Buffer.alloc(0)),
    )
  }
}

/** Checks that the store has one file for each of these pictures, and no other. */
export async function expectStored(scene: ResultScene, ...urls: readonly string[]): Promise<void> {
  const hashes = new Set(urls.map((url) => toSha256(scene.bytesOf(url) ?? Buffer.alloc(0))))
  expect(await scene.copies()).toEqual([...hashes].sort())
}

async function listCopies(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile() && entry.parentPath !== join(folder, 'tmp'))
  return files.map(({ name }) => name).sort()
}
