import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { expect, test } from '@jest/globals'
import { openPictureProcess } from '../../src/results/picture-process.ts'
import { NO_PROXIES } from '../../src/net/proxies.ts'
import { draw, HEIGHT, toBlackPng, toInterlacedBomb, WIDTH } from '../support/picture-files.ts'
import { serve, startPictureServer } from '../support/picture-server.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { waitFor } from '../support/wait-for.ts'

const SIGNAL = new AbortController().signal

async function openScene(program = new URL('../../src/picture-program.ts', import.meta.url)) {
  await using opened = new AsyncDisposableStack()
  const folder = opened.use(await openTempDir())
  const bytes = await draw().png().toBuffer()
  const server = opened.use(await startPictureServer(serve(bytes)))
  const logged: string[] = []
  const log = (_facts: object, sentence: string) => void logged.push(sentence)
  const before = readChildren()
  const pictures = opened.use(
    openPictureProcess({
      program,
      settings: { proxies: NO_PROXIES, nameServers: [], folder: folder.path },
      allowedHosts: () => [server.host],
      toFetchUrl: (url) => url,
      log: { info: log, warn: log, error: log },
    }),
  )
  const rest = opened.move()
  return {
    server,
    logged,
    pictures,
    bytes,
    download: (signal = SIGNAL) => pictures.download(`${server.url}/a.png`, signal),
    /** Downloads a picture that is usable, and deletes its file; resolves to what it was. */
    async receive() {
      const picture = await pictures.download(`${server.url}/a.png`, SIGNAL)
      if (picture.kind === 'unusable') throw new Error(picture.reason)
      await picture[Symbol.asyncDispose]()
      return picture
    },
    /** The picture processes. */
    processes: () => readChildren().filter((pid) => !before.includes(pid)),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** The processes that this one has started. */
function readChildren(): number[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,comm='], { encoding: 'utf8' }).trim().split('\n')
  const rows = lines.map((line) => line.trim().split(/\s+/))
  return rows
    .filter(([, parent, name]) => Number(parent) === process.pid && name !== 'ps')
    .map(([pid]) => Number(pid))
}

const never: Parameters<typeof startPictureServer>[0] = () => undefined

test('is started by the first download, has a low priority, and no secrets', async () => {
  await using scene = await openScene()
  expect(scene.processes()).toEqual([])
  expect(await scene.receive()).toMatchObject({
    facts: { width: WIDTH, height: HEIGHT, byteSize: scene.bytes.length },
  })
  const [pid] = scene.processes()
  expect(execFileSync('ps', ['-o', 'ni=', '-p', String(pid)], { encoding: 'utf8' }).trim()).toBe('10')
  // Elsewhere a process has one priority, and there is no such file.
  if (process.platform !== 'linux') return
  const threads = execFileSync('ps', ['-L', '-o', 'ni=', '-p', String(pid)], { encoding: 'utf8' })
  expect(new Set(threads.trim().split(/\s+/))).toEqual(new Set(['10']))
  const names = readFileSync(`/proc/${pid}/environ`, 'utf8')
    .split('\0')
    .map((each) => each.split('=')[0])
  expect(names.filter((name) => name !== '' && !name?.startsWith('NODE_CHANNEL_'))).toEqual([
    'MALLOC_ARENA_MAX',
  ])
})

test('after a crash its pictures are unusable for now, and the next ones are downloaded', async () => {
  await using scene = await openScene()
  scene.server.answer = never
  const downloads = [scene.download(), scene.download()]
  await waitFor(() => scene.server.received.length === 2)
  const [pid] = scene.processes()
  process.kill(Number(pid), 'SIGSEGV')
  for (const download of downloads)
    expect(await download).toEqual({
      kind: 'unusable',
      reason: 'the decoder crashed',
      permanent: false,
    })
  scene.server.answer = serve(scene.bytes)
  expect(await scene.receive()).toMatchObject({ kind: 'picture' })
  expect(scene.logged).toEqual(['the picture process has crashed; it is restarted'])
})

test('a picture that needs too much memory is unusable for ever, and the others are downloaded again', async () => {
  await using scene = await openScene()
  const bomb = await toInterlacedBomb(9_000)
  expect(bomb.length).toBeLessThan(4_000_000)
  scene.server.answer = (response, request) =>
    serve(request.url === '/a.png' ? bomb : scene.bytes)(response, request)
  const refused = scene.download()
  await waitFor(() => scene.server.received.length === 1)
  // Some are decoded after the bomb, or are being downloaded when the process ends.
  const others = Array.from({ length: 5 }, () => scene.pictures.download(`${scene.server.url}/b.png`, SIGNAL))
  expect(await refused).toMatchObject({
    kind: 'unusable',
    reason: 'decoding the picture needs too much memory',
    permanent: true,
  })
  for (const other of others) {
    const picture = await other
    expect(picture).toMatchObject({ kind: 'picture', facts: { width: WIDTH } })
    if (picture.kind === 'picture') await picture[Symbol.asyncDispose]()
  }
})

test('an aborted download ends at once, at the server, too, and its file is deleted', async () => {
  await using scene = await openScene()
  scene.server.answer = never
  const stop = new AbortController()
  const download = scene.download(stop.signal)
  await waitFor(() => scene.server.received.length === 1)
  stop.abort(new Error('stop'))
  await expect(download).rejects.toThrow('stop')
  await waitFor(async () => (await scene.server.connections()) === 0)
})

test('a picture that is ready after its abort is deleted', async () => {
  await using scene = await openScene()
  scene.server.answer = serve(toBlackPng(9_000, 9_000))
  const stop = new AbortController()
  const download = scene.download(stop.signal)
  await waitFor(async () => scene.server.received.length === 1 && (await scene.server.connections()) === 0)
  stop.abort(new Error('stop'))
  await expect(download).rejects.toThrow('stop')
  scene.server.answer = serve(scene.bytes)
  const { path } = await scene.receive()
  // The aborted one was decoded before it.
  await waitFor(() => readdirSync(dirname(path)).length === 0)
})

test('a file that cannot be written rejects the download', async () => {
  await using scene = await openScene()
  await expect(scene.pictures.shrink('/nowhere/a.png', '/nowhere/b.webp', 256)).rejects.toThrow('nowhere')
})

test('closing ends the process and what it does', async () => {
  await using scene = await openScene()
  scene.server.answer = never
  const download = scene.download()
  await waitFor(() => scene.server.received.length === 1)
  scene.pictures[Symbol.dispose]()
  expect(await download).toMatchObject({ kind: 'unusable', reason: 'the picture process is closed' })
  await expect(scene.download()).rejects.toThrow('the picture process is closed')
  await waitFor(() => scene.processes().length === 0)
})

test('a process that cannot run makes pictures unusable for now', async () => {
  await using scene = await openScene(new URL('missing.ts', import.meta.url))
  expect(await scene.download()).toMatchObject({ kind: 'unusable', permanent: false })
  expect(scene.logged).toEqual(['the picture process has crashed; it is restarted'])
})
