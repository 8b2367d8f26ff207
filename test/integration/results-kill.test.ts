import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from '@jest/globals'
import pg from 'pg'
import {
  callBack,
  expectKept,
  expectStored,
  followTask,
  killService,
  openResultScene,
  readTask,
  type ResultScene,
  type ResultService,
  type ResultTask,
  type SubmittedTask,
} from '../support/result-scene.ts'
import { waitFor } from '../support/wait-for.ts'

/** A crashed process holds its lease for 10 s, so the tests wait together. */
const TIMEOUT_MS = 90_000
/** The attempts that one process makes at once. */
const MAX_RUNNING = 8

/** Holds a lock that commits of this task wait for: the whole database on SQLite, its row on PostgreSQL. */
async function lockTask({ database }: ResultScene, { id }: SubmittedTask): Promise<AsyncDisposable> {
  if (database.url.startsWith('file:')) {
    const sqlite = new DatabaseSync(database.url.slice('file:'.length), { timeout: 5_000 })
    sqlite.exec('BEGIN IMMEDIATE')
    return { [Symbol.asyncDispose]: () => Promise.resolve().then(() => sqlite.close()) }
  }
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  await client.query('BEGIN')
  await client.query('SELECT FROM task WHERE id = $1 FOR UPDATE', [id])
  return { [Symbol.asyncDispose]: () => client.end() }
}

/** The sizes of the temporary files of downloads. */
async function readDownloads({ folder }: ResultScene): Promise<number[]> {
  // The first download creates the folder.
  const names = await readdir(join(folder, 'tmp')).catch(() => [])
  return Promise.all(names.map(async (name) => (await stat(join(folder, 'tmp', name))).size))
}

/** Starts a service and submits one task. */
async function submitOne(scene: ResultScene, settings?: Record<string, string>) {
  const service = await scene.start(settings)
  return { service, task: await scene.submit(service, 'source') }
}

const waitForCopy = async (service: ResultService, task: SubmittedTask): Promise<ResultTask> => {
  for (;;) {
    const state = await readTask(service, task)
    if (state.images?.every(({ copyState }) => copyState === 'KEPT')) return state
  }
}

test.concurrent(
  'after kill -9 between the 200 of a callback and the download, the next process downloads at once',
  async () => {
    await using scene = await openResultScene()
    await using first = await scene.start()
    // Eight downloads that get no answer: the ninth cannot begin.
    scene.server.answer = () => undefined
    const called: { readonly task: SubmittedTask; readonly url: string }[] = []
    for (let n = 0; n <= MAX_RUNNING; n += 1) {
      const [task, url] = [await scene.submit(first, `source-${n}`), await scene.add(`picture-${n}`)]
      expect(await callBack(first, task, url)).toBe(200)
      called.push({ task, url })
    }
    await waitFor(() => scene.server.received.length === MAX_RUNNING)
    const waiting = called.filter(({ url }) => scene.requestsFor(url) === 0)
    expect(waiting).toHaveLength(1)
    await killService(first)

    scene.server.answer = (response) => scene.servePicture(response)
    await using second = await scene.start()
    for (const { task, url } of waiting) await expectKept(scene, await followTask(second, task), url)
    await Promise.all(
      called.map(async ({ task, url }) => {
        await expectKept(scene, await followTask(second, task), url)
        expect(scene.requestsFor(url)).toBe(waiting.some((each) => each.url === url) ? 1 : 2)
      }),
    )
    await expectStored(scene, ...called.map(({ url }) => url))
    expect(scene.payments()).toBe(MAX_RUNNING + 1)
  },
  TIMEOUT_MS,
)

test.concurrent(
  'after kill -9 while half of a picture is downloaded, the task succeeds in time, and its copy is made afterwards',
  async () => {
    await using scene = await openResultScene()
    const settings = { RESULT_INSPECT_MS: '4000' }
    const { service: first, task } = await submitOne(scene, settings)
    await using _first = first
    const url = await scene.add('picture')
    const bytes = scene.bytesOf(url) ?? Buffer.alloc(0)
    const half = bytes.subarray(0, bytes.length / 2)
    scene.server.answer = (response) =>
      response.writeHead(200, { 'content-length': bytes.length }).write(half)
    expect(await callBack(first, task, url)).toBe(200)
    await waitFor(async () => (await readDownloads(scene)).includes(half.length))
    await killService(first)
    expect(await scene.copies()).toEqual([])

    scene.server.answer = (response) => scene.servePicture(response)
    await using second = await scene.start(settings)
    const inTime = await followTask(second, task)
    expect(inTime).toMatchObject({
      status: 'SUCCEEDED',
      images: [{ url, copyState: 'PENDING', sha256: null }],
    })
    const kept = await waitForCopy(second, task)
    expect(kept.version).toBe(inTime.version + 1)
    await expectKept(scene, kept, url)
    await expectStored(scene, url)
    expect(scene.requestsFor(url)).toBe(2)
    expect(scene.payments()).toBe(1)
  },
  TIMEOUT_MS,
)

test.concurrent(
  'after kill -9 between the upload and its commit, the task settles with one copy',
  async () => {
    await using scene = await openResultScene()
    const { service: first, task } = await submitOne(scene)
    await using _first = first
    const url = await scene.add('picture')
    // The same bytes under another URL. While they are missing, the first picture is in the store and not
    // committed.
    const twin = await scene.add('twin', scene.bytesOf(url))
    const asked = Promise.withResolvers<() => void>()
    scene.server.answer = (response, request) => {
      if (request.url !== '/twin') scene.servePicture(response)
      else asked.resolve(() => response.writeHead(404).end())
    }
    expect(await callBack(first, task, url, twin)).toBe(200)
    const respond = await asked.promise
    // Under its final name.
    await waitFor(async () => (await scene.copies()).some((name) => !name.includes('~')))
    await expectStored(scene, url)
    {
      await using _lock = await lockTask(scene, task)
      const ended = first.logged('a result could not be inspected')
      respond()
      await ended
      // Answered after the attempt has ended, while the commit waits for the lock.
      expect((await fetch(`${first.url}/livez`)).status).toBe(200)
      await killService(first)
    }

    scene.server.answer = (response) => scene.servePicture(response)
    await using second = await scene.start()
    expect(await readTask(second, task)).toMatchObject({ status: 'PROCESSING', version: 2 })
    const settled = await followTask(second, task)
    expect(settled.version).toBe(3)
    await expectKept(scene, settled, url, twin)
    await expectStored(scene, url)
    expect(scene.payments()).toBe(1)
  },
  TIMEOUT_MS,
)
