import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import sharp from 'sharp'
import type { PictureFragment } from '../generated/operations.ts'
import { startKeeper, type Keeper } from '../support/kept.ts'
import { openRaw } from '../support/raw-client.ts'

const ALLOWED = 'https://app.example'

let keeper: Keeper
let id: string
let picture: PictureFragment
let bytes: Buffer
let etag: string
beforeAll(async () => {
  keeper = await startKeeper({ CORS_ORIGINS: ALLOWED })
  ;({ id, picture } = await keeper.upscale())
  bytes = (await ask(picture.originalUrl)).body
  etag = `"${picture.sha256}"`
})
afterAll(async () => {
  await keeper[Symbol.asyncDispose]()
})

/** Sends a request. Reads the answer to its end. */
async function ask(url: string, init: RequestInit = {}) {
  const response = await fetch(url, init)
  const body = Buffer.from(await response.arrayBuffer())
  const headers: Record<string, string | undefined> = Object.fromEntries(response.headers)
  return { status: response.status, headers, body }
}
const get = (headers: Record<string, string> = {}, query = '') => ask(picture.url + query, { headers })

describe('the link of a copy', () => {
  test('serves the bytes of the original, tagged by their hash, and is immutable', async () => {
    const response = await get()
    expect(response.status).toBe(200)
    expect(bytes.equals(response.body)).toBe(true)
    expect(picture).toMatchObject({
      copyState: 'KEPT',
      expiresAt: null,
      byteSize: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    })
    expect(response.headers).toMatchObject({
      'content-type': 'image/png',
      'content-length': String(bytes.length),
      etag,
      'cache-control': 'public, max-age=31536000, immutable',
      'accept-ranges': 'bytes',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; sandbox",
      'cross-origin-resource-policy': 'cross-origin',
    })
    expect(response.headers['content-disposition']).toBeUndefined()
  })

  test('belongs to the gateway, cannot be guessed, and is the same in each response', async () => {
    expect(picture.url).toMatch(
      new RegExp(`^${keeper.gateway.url}/results/${id}/0/[\\w-]{43}$`.replaceAll('.', '\\.')),
    )
    expect((await keeper.follow(id)).url).toBe(picture.url)
    const { data } = await keeper.gateway.run('HTTP', `{ upscaleTask(id: "${id}") { images { url } } }`)
    expect(data).toEqual({ upscaleTask: { images: [{ url: picture.url }] } })
  })

  test('answers HEAD with the headers of GET and no body', async () => {
    const { pathname } = new URL(picture.url)
    const head = (path: string) =>
      `HEAD ${path} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-9\r\nConnection: close\r\n\r\n`
    for (const query of ['', '?width=256', '?download']) {
      using client = await openRaw(keeper.gateway.url, head(pathname + query))
      const [lines = '', body] = (await client.ended()).split('\r\n\r\n')
      const response = await get({}, query)
      const expected = [...Object.entries(response.headers)].map(([name, value]) => `${name}: ${value}`)
      const [status, ...headers] = lines.split('\r\n')
      const toComparable = (all: string[]) =>
        all.filter((line) => !/^(date|connection|keep-alive|x-correlation-id):/i.test(line)).sort()
      // RFC 9110 §14.2: a range is for GET only.
      expect(status).toBe('HTTP/1.1 200 OK')
      expect(toComparable(headers)).toEqual(toComparable(expected))
      expect(body).toBe('')
    }
  })
})

describe('a range', () => {
  test.each([
    ['bytes=0-0', 0, 0],
    ['bytes=0-99', 0, 99],
    ['bytes=1000-1999', 1000, 1999],
    ['bytes=100-', 100, -1],
    ['bytes=-10', -10, -1],
    ['bytes=-99999999', 0, -1],
    ['bytes=5-99999999', 5, -1],
    ['bytes= 0 - 9', 0, 9],
  ])('%s of a copy is served alone', async (range, from, to) => {
    const [start, end] = [from, to].map((at) => (at < 0 ? bytes.length + at : at)) as [number, number]
    const response = await get({ range })
    expect(response.status).toBe(206)
    expect(response.headers).toMatchObject({
      'content-range': `bytes ${start}-${end}/${bytes.length}`,
      'content-length': String(end - start + 1),
      'content-type': 'image/png',
      etag,
    })
    expect(bytes.subarray(start, end + 1).equals(response.body)).toBe(true)
  })

  test.each(['bytes=99999999-', 'bytes=99999999-99999999', 'bytes=-0'])(
    '%s is outside of the picture: 416',
    async (range) => {
      const response = await get({ range })
      expect(response.status).toBe(416)
      expect(response.headers['content-range']).toBe(`bytes */${bytes.length}`)
      // The error must not be cached as the picture is.
      expect(response.headers['cache-control']).toBe('no-store')
      expect(response.headers.etag).toBeUndefined()
      expect(JSON.parse(response.body.toString())).toMatchObject({
        errors: [{ extensions: { code: 'BAD_REQUEST' } }],
      })
    },
  )

  test.each(['bytes', 'bytes=', 'bytes=a-b', 'items=0-1', 'bytes=9-0', 'bytes=0-1,5-6'])(
    '%s is none that is served: the whole picture is',
    async (range) => {
      const response = await get({ range })
      expect(response.status).toBe(200)
      expect(bytes.equals(response.body)).toBe(true)
    },
  )

  test.each([
    ['the same tag', () => etag, 206],
    ['another tag', () => '"other"', 200],
    ['a weak tag', () => `W/${etag}`, 200],
    ['a date', () => new Date().toUTCString(), 200],
  ])('is served if If-Range is the tag: %s', async (_name, ifRange, status) => {
    const response = await get({ range: 'bytes=0-9', 'if-range': ifRange() })
    expect(response.status).toBe(status)
    expect(response.body.length).toBe(status === 206 ? 10 : bytes.length)
  })
})

test.each([
  ['the tag', () => etag, 304],
  ['a weak tag', () => `W/${etag}`, 304],
  ['a list', () => `"a", W/"b",${etag}`, 304],
  ['any', () => '*', 304],
  ['another tag', () => '"other"', 200],
  ['the tag without quotes', () => etag.slice(1, -1), 200],
])('a client that has the picture is sent none: If-None-Match is %s', async (_name, ifNoneMatch, status) => {
  const response = await get({ 'if-none-match': ifNoneMatch() })
  expect(response.status).toBe(status)
  expect(response.body.length).toBe(status === 304 ? 0 : bytes.length)
  expect(response.headers.etag).toBe(etag)
  expect(response.headers['cache-control']).toContain('immutable')
})

/** What is in the store for the picture, except the original. */
async function listRenditions(): Promise<string[]> {
  const sha256 = picture.sha256 ?? ''
  const names = await readdir(`${keeper.folder}/${sha256.slice(0, 2)}`)
  return names.filter((name) => name !== sha256).map((name) => name.replace(sha256, ''))
}

describe('?width', () => {
  test.each([
    [256, 256],
    [512, 512],
    [1024, 1024],
    // Nothing is enlarged.
    [2048, 1024],
  ])('=%i serves a WebP with a tag, ranges and a name of its own', async (width, expected) => {
    const response = await get({}, `?width=${width}&download`)
    const { body: file } = response
    expect(await sharp(file).metadata()).toMatchObject({ format: 'webp', width: expected, height: expected })
    const tag = `"${picture.sha256}-${width}"`
    expect(response.headers).toMatchObject({
      'content-type': 'image/webp',
      'content-length': String(file.length),
      'content-disposition': `attachment; filename="upscale-source-0-${width}.webp"`,
      'cache-control': 'public, max-age=31536000, immutable',
      etag: tag,
    })
    const part = await get({ range: 'bytes=-5' }, `?width=${width}`)
    expect(part.headers['content-range']).toContain(`/${file.length}`)
    expect(file.subarray(-5).equals(part.body)).toBe(true)
    expect((await get({ 'if-none-match': tag }, `?width=${width}`)).status).toBe(304)
    expect((await get({ 'if-none-match': etag }, `?width=${width}`)).status).toBe(200)
  })

  test.each(['', '0', '257', '4096', '-256', '256.0', '0x100', 'x', '256&width=512'])(
    '=%s is refused, and nothing is made',
    async (width) => {
      const before = await listRenditions()
      const response = await get({}, `?width=${width}`)
      expect(response.status).toBe(400)
      expect(response.body.toString()).toContain('width must be one of 256, 512, 1024, 2048.')
      expect(await listRenditions()).toEqual(before)
    },
  )

  test('is made once for concurrent requests, and then stored', async () => {
    const other = await keeper.upscale('another')
    const load = async () => (await ask(`${other.picture.url}?width=512`)).body
    const [first, ...others] = await Promise.all(Array.from({ length: 6 }, load))
    const { sha256 } = other.picture
    const file = `${keeper.folder}/${sha256?.slice(0, 2)}/${sha256}-512.webp`
    expect(first?.equals(await readFile(file))).toBe(true)
    for (const each of others) expect(first?.equals(each)).toBe(true)
    const { mtimeMs, ino } = await stat(file)
    await load()
    expect(await stat(file)).toMatchObject({ mtimeMs, ino })
  })
})

test('?download gives the file a readable name', async () => {
  const disposition = async (taskId: string) => {
    const { picture } = await keeper.upscale(taskId)
    return (await ask(`${picture.url}?download`, { method: 'HEAD' })).headers['content-disposition']
  }
  expect(await disposition('a-task_1')).toBe('attachment; filename="upscale-a-task_1-0.png"')
  expect(await disposition('a "b"; ../ü\\é')).toMatch(/^attachment; filename="upscale-[\w-]+-0\.png"$/)
})

describe('a page of another origin', () => {
  test.each([undefined, ALLOWED, 'https://stranger.example', 'null'])(
    'may read the picture: %s',
    async (origin) => {
      for (const headers of [{}, { range: 'bytes=0-1' }, { 'if-none-match': '*' }]) {
        const response = await get({ ...headers, ...(origin && { origin }) })
        expect(response.headers['access-control-allow-origin']).toBe('*')
        expect(response.headers['access-control-allow-credentials']).toBeUndefined()
        // One answer for all origins: shared caches need to keep only one.
        expect(response.headers.vary).toBeUndefined()
      }
    },
  )

  test('can read why a request is refused', async () => {
    for (const url of [`${picture.url}x`, `${picture.url}?width=1`])
      expect((await ask(url)).headers['access-control-allow-origin']).toBe('*')
  })
})
