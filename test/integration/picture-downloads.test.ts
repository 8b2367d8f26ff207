import { rm, stat, utimes, writeFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import sharp from 'sharp'
import { createDecoder } from '../../src/results/decode.ts'
import { createInspect } from '../../src/results/inspect.ts'
import { draw, toBlackPng } from '../support/picture-files.ts'
import {
  downloadPicture,
  openPictureScene,
  redirectAlong,
  serve,
  startPictureServer,
  type PictureAnswer,
} from '../support/picture-server.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { waitFor } from '../support/wait-for.ts'

const PNG = toBlackPng(50, 40)
const MIB = 1024 * 1024

/** Sends the bytes of a whole answer as they are. */
const raw =
  (head: string, body: Buffer): PictureAnswer =>
  (response) =>
    response.socket?.end(Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n`), body]))

/** Sends a part of the body, and then waits. */
const stall: PictureAnswer = (response) =>
  void response.writeHead(200, { 'content-length': PNG.length }).write(PNG.subarray(0, 20))

const drip: PictureAnswer = (response) => {
  const timer = setInterval(() => response.write('.'), 10)
  response.once('close', () => clearInterval(timer))
}

const endless: PictureAnswer = (response) => {
  const block = Buffer.alloc(MIB)
  const more = () => response.write(block, (error) => !error && setImmediate(more))
  more()
}

const BAD: readonly (readonly [string, PictureAnswer, string, boolean])[] = [
  ['an empty body', serve(''), 'the body is empty', false],
  ['404', (response) => response.writeHead(404).end(PNG), 'the server answered with the status 404', false],
  ['410', (response) => response.writeHead(410).end(PNG), 'the server answered with the status 410', true],
  [
    '503 and an endless body',
    (response) => endless(response.writeHead(503), response.req),
    'the server answered with the status 503',
    false,
  ],
  ['204', (response) => response.writeHead(204).end(), 'the server answered with the status 204', false],
  [
    'a redirect to nowhere',
    (response) => response.writeHead(302).end(),
    'the server answered with the status 302',
    false,
  ],
  [
    'a compressed body that was not requested',
    serve(gzipSync(PNG), { 'content-encoding': 'gzip' }),
    'the server compressed the file, although only `identity` was accepted',
    false,
  ],
  [
    'a Content-Length of 70 MiB',
    (response) => response.writeHead(200, { 'content-length': 70 * MIB }).write(PNG),
    'the file is larger than 67108864 bytes',
    true,
  ],
  ['an endless body without Content-Length', endless, 'the file is larger than 67108864 bytes', true],
  [
    'a body that is shorter than its Content-Length',
    raw(`content-length: ${PNG.length + 10}`, PNG),
    'the download failed (ERR_HTTP_CONTENT_LENGTH_MISMATCH)',
    false,
  ],
  [
    'a body that is longer than its Content-Length',
    raw(`content-length: ${PNG.length - 20}`, PNG),
    'the download failed (HPE_INVALID_CONSTANT)',
    false,
  ],
  [
    'a connection that is cut',
    (response) => response.write(PNG.subarray(0, 20), () => response.destroy()),
    'the download failed (ECONNRESET)',
    false,
  ],
  ['no answer', (response) => response.destroy(), 'the download failed (ECONNRESET)', false],
  [
    'something that is not HTTP',
    (response) => response.socket?.end('SSH-2.0-OpenSSH_9.2\r\n'),
    'the download failed (HPE_INVALID_CONSTANT)',
    false,
  ],
]

describe('a server that answers with', () => {
  test.each(BAD)('%s gives a reason, and no file', async (_name, answer, reason, permanent) => {
    await using scene = await openPictureScene()
    scene.server.answer = answer
    expect(await scene.download()).toEqual({ kind: 'unusable', reason, permanent })
    expect(await scene.files()).toEqual([])
    // Nothing is downloaded that is not used.
    expect(await connectionsOf(scene.server)).toBe(0)
  })

  const connectionsOf = async (server: Awaited<ReturnType<typeof openPictureScene>>['server']) => {
    await waitFor(async () => (await server.connections()) === 0)
    return server.connections()
  }

  test('the largest allowed body is downloaded, and one byte more is not', async () => {
    await using scene = await openPictureScene({ limits: { maxBytes: PNG.length } })
    for (const serveOnce of [
      serve,
      (body: Buffer): PictureAnswer =>
        (response) =>
          response.end(body),
    ]) {
      scene.server.answer = serveOnce(PNG)
      await using picture = await downloadPicture(scene)
      expect(picture.facts.byteSize).toBe(PNG.length)
      scene.server.answer = serveOnce(Buffer.concat([PNG, Buffer.from('!')]))
      expect(await scene.download()).toMatchObject({ reason: `the file is larger than ${PNG.length} bytes` })
    }
  })

  test('a body in many pieces is one picture', async () => {
    await using scene = await openPictureScene()
    const bytes = await draw(1, 20).png().toBuffer()
    scene.server.answer = (response) => {
      for (let at = 0; at < bytes.length; at += 999) response.write(bytes.subarray(at, at + 999))
      response.end()
    }
    await using picture = await downloadPicture(scene)
    expect(picture.facts.byteSize).toBe(bytes.length)
  })

  test.each<[string, PictureAnswer]>([
    ['nothing', () => undefined],
    ['a part', stall],
    ['a byte from time to time', drip],
  ])('%s, and then is slow, is given up', async (_name, answer) => {
    await using scene = await openPictureScene({ limits: { timeoutMs: 100 } })
    scene.server.answer = answer
    const reason = 'the download took longer than 100 ms'
    expect(await scene.download()).toEqual({ kind: 'unusable', reason, permanent: false })
    expect(await scene.files()).toEqual([])
  })
})

test('a request asks for an identity encoding, and names the gateway as user agent', async () => {
  await using scene = await openPictureScene()
  scene.server.answer = serve(PNG)
  await using _picture = await downloadPicture(scene)
  expect(scene.server.received[0]?.headers).toMatchObject({
    'accept-encoding': 'identity',
    'user-agent': 'upscale-gateway',
  })
})

test('a picture is downloaded from the URL to which its URL is mapped', async () => {
  await using server = await startPictureServer(serve(PNG))
  await using scene = await openPictureScene({
    allowedHosts: () => [server.host],
    toFetchUrl: (url) => url.replace('https://gateway.example.com', server.url),
  })
  await using _picture = await downloadPicture(scene, 'https://gateway.example.com/sandbox/1.png?a=b')
  expect(server.received.map(({ url }) => url)).toEqual(['/sandbox/1.png?a=b'])
})

describe('redirects', () => {
  const hops = (count: number) => Array.from({ length: count }, (_, step) => `/hop/${step + 1}`)

  test('are followed three times', async () => {
    await using scene = await openPictureScene()
    scene.server.answer = redirectAlong(hops(3), PNG)
    await using picture = await downloadPicture(scene, `${scene.server.url}/hop/0`)
    expect(picture.facts.width).toBe(50)
    expect(scene.server.received).toHaveLength(4)
  })

  test.each([
    ['four', hops(4)],
    ['endless', ['/hop/0']],
  ])('are not followed a fourth time: %s', async (_name, locations) => {
    await using scene = await openPictureScene()
    scene.server.answer = redirectAlong(locations, PNG)
    expect(await scene.download(`${scene.server.url}/hop/0`)).toEqual({
      kind: 'unusable',
      reason: 'the server redirected more than 3 times',
      permanent: false,
    })
    expect(scene.server.received).toHaveLength(4)
    expect(await scene.files()).toEqual([])
  })

  test.each([
    ['a private address', (port: number) => `http://127.0.0.1:${port}/`],
    ['an IPv6 address', (port: number) => `http://[::ffff:127.0.0.1]:${port}/`],
    ['a number that is a private address', (port: number) => `http://2130706433:${port}/`],
    ['a name that resolves to a private address', (port: number) => `http://rebind.example.com:${port}/`],
    ['localhost', (port: number) => `http://localhost:${port}/`],
    ['a host without a scheme', (port: number) => `//rebind.example.com:${port}/`],
  ])('to %s are refused', async (_name, toLocation) => {
    await using inner = await startPictureServer(serve(PNG))
    await using scene = await openPictureScene()
    scene.server.answer = redirectAlong([toLocation(inner.port)], PNG)
    expect(await scene.download()).toEqual({
      kind: 'unusable',
      reason: 'the host has no public address',
      permanent: false,
    })
    expect(inner.received).toEqual([])
    expect(await scene.files()).toEqual([])
  })

  test.each([
    'file:///etc/passwd',
    'ftp://example.com/',
    'data:image/png;base64,AAAA',
    'http://[',
    'http://',
  ])('to %s are refused', async (location) => {
    await using scene = await openPictureScene()
    scene.server.answer = redirectAlong([location], PNG)
    const reason = 'the URL is not an http or https URL'
    expect(await scene.download()).toEqual({ kind: 'unusable', reason, permanent: false })
  })
})

describe('the guard', () => {
  test.each<[string, (port: number) => string[], boolean]>([
    ['allows no private host', () => [], false],
    ['allows an exact name', () => ['pictures.example.com'], true],
    ['allows an exact name and port', (port) => [`pictures.example.com:${port}`], true],
    ['allows no other port', (port) => [`pictures.example.com:${port + 1}`], false],
    ['allows no other name', () => ['example.com', 'pictures.example', '127.0.0.1'], false],
  ])('%s', async (_name, toAllowed, isAllowed) => {
    await using server = await startPictureServer(serve(PNG))
    await using scene = await openPictureScene({ allowedHosts: () => toAllowed(server.port) })
    const result = await scene.download(`http://pictures.example.com:${server.port}/1.png`)
    expect(result.kind).toBe(isAllowed ? 'picture' : 'unusable')
    expect(server.received).toHaveLength(isAllowed ? 1 : 0)
    if (result.kind === 'picture') await result[Symbol.asyncDispose]()
  })
})

describe('an abort', () => {
  const STOP = new Error('stop')

  test('before a download prevents it', async () => {
    await using scene = await openPictureScene()
    await expect(scene.download(undefined, AbortSignal.abort(STOP))).rejects.toBe(STOP)
    expect(scene.server.received).toEqual([])
    expect(await scene.files()).toEqual([])
  })

  test.each<[string, PictureAnswer]>([
    ['before the answer', () => undefined],
    ['in the body', stall],
  ])('%s ends the connection and deletes the file', async (_name, answer) => {
    await using scene = await openPictureScene()
    scene.server.answer = answer
    const stop = new AbortController()
    const download = scene.download(undefined, stop.signal)
    await waitFor(() => scene.server.received.length === 1)
    expect(await scene.files()).toHaveLength(1)
    stop.abort(STOP)
    await expect(download).rejects.toBe(STOP)
    await waitFor(async () => (await scene.server.connections()) === 0)
    expect(await scene.files()).toEqual([])
  })

  test('of downloads that wait to be decoded deletes their files, and the next picture is decoded', async () => {
    await using scene = await openPictureScene()
    const large = toBlackPng(10_000, 5_000)
    scene.server.answer = serve(large)
    const stop = new AbortController()
    const downloads = Array.from({ length: 5 }, () => scene.download(undefined, stop.signal))
    // All bytes are there when the server has closed each connection.
    await waitFor(async () => scene.server.received.length === 5 && (await scene.server.connections()) === 0)
    stop.abort(STOP)
    for (const download of downloads) await expect(download).rejects.toBe(STOP)
    expect(await scene.files()).toEqual([])
    scene.server.answer = serve(PNG)
    await using _picture = await downloadPicture(scene)
  })

  test('while a picture is decoded rejects its download', async () => {
    await using scene = await openPictureScene()
    scene.server.answer = serve(await sharp(toBlackPng(3_000, 3_000)).png({ progressive: true }).toBuffer())
    const stops = [new AbortController(), new AbortController()]
    const downloads = stops.map(({ signal }) => scene.download(undefined, signal))
    const ended = downloads.map(async (download, index) => {
      const result = await download
      if (result.kind === 'picture') await result[Symbol.asyncDispose]()
      return index
    })
    // They are decoded one after the other.
    const other = 1 - (await Promise.race(ended))
    stops[other]?.abort(STOP)
    await expect(downloads[other]).rejects.toBe(STOP)
    await expect(ended[other]).rejects.toBe(STOP)
    expect(await scene.files()).toEqual([])
  })

  test('before a picture is decoded prevents that', async () => {
    await using dir = await openTempDir()
    const path = join(dir.path, 'damaged.png')
    await writeFile(path, Buffer.concat([PNG.subarray(0, 33), PNG.subarray(-12)]))
    const logged: string[] = []
    const log = (_facts: object, sentence: string) => void logged.push(sentence)
    const decoder = createDecoder({ info: log, warn: log, error: log })
    const inspect = createInspect(decoder, 1_000_000)
    await expect(inspect(path, AbortSignal.abort(STOP))).rejects.toBe(STOP)
    expect(logged).toEqual([])
    await expect(inspect(path, new AbortController().signal)).rejects.toThrow('damaged')
    expect(logged).toEqual(['a picture could not be decoded'])
  })

  test('is also the effect of disposing the source', async () => {
    await using scene = await openPictureScene()
    scene.server.answer = stall
    const download = scene.download()
    await waitFor(() => scene.server.received.length === 1)
    scene.source[Symbol.dispose]()
    await expect(download).rejects.toThrow('The picture source was closed')
    await expect(scene.download()).rejects.toThrow('The picture source was closed')
    expect(await scene.files()).toEqual([])
  })
})

describe('temporary files', () => {
  test('of a killed process are deleted after an hour; other files stay', async () => {
    await using scene = await openPictureScene()
    scene.server.answer = serve(PNG)
    const { path } = await downloadPicture(scene)
    const suffix = extname(path)
    const ages = { [`old${suffix}`]: 3_700, [`new${suffix}`]: 3_500, 'other.png': 99_999 }
    for (const [name, seconds] of Object.entries(ages)) {
      const at = Date.now() / 1_000 - seconds
      await writeFile(join(scene.folder, name), 'x')
      await utimes(join(scene.folder, name), at, at)
    }
    await using again = await openPictureScene({ folder: scene.folder })
    again.server.answer = serve(PNG)
    await (await downloadPicture(again))[Symbol.asyncDispose]()
    expect((await scene.files()).sort()).toEqual(
      [path.slice(scene.folder.length + 1), `new${suffix}`, 'other.png'].sort(),
    )
  })

  test('are in a folder that only this user can open', async () => {
    await using scene = await openPictureScene()
    scene.server.answer = serve(PNG)
    await using _picture = await downloadPicture(scene)
    expect((await stat(scene.folder)).mode & 0o777).toBe(0o700)
  })

  test('that cannot be written reject the download with the error of the disk, until they can be', async () => {
    await using scene = await openPictureScene()
    scene.server.answer = serve(PNG)
    await rm(scene.folder, { recursive: true, force: true })
    await writeFile(scene.folder, 'not a folder')
    await expect(scene.download()).rejects.toMatchObject({ code: 'EEXIST' })
    await rm(scene.folder)
    await using picture = await downloadPicture(scene)
    expect(picture.facts.byteSize).toBe(PNG.length)
  })
})
