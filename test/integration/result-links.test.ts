import { createHmac } from 'node:crypto'
import { rename, truncate } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { once } from 'node:events'
import { describe, expect, test } from '@jest/globals'
import sharp from 'sharp'
import { startKeeper, type Keeper } from '../support/kept.ts'
import { openStage, toPngChunk } from '../support/picture-stage.ts'

/** A PNG with EXIF, and with Content Credentials before its end. */
async function drawPicture(colour: string): Promise<Buffer> {
  const png = await sharp({ create: { width: 300, height: 200, channels: 3, background: colour } })
    .withExif({ IFD0: { Copyright: 'Ann' } })
    .png()
    .toBuffer()
  return Buffer.concat([png.subarray(0, -12), toPngChunk('caBX', 'a manifest'), png.subarray(-12)])
}

const sign = (key: string, position: number) =>
  createHmac('sha256', key).update(`result ${position}`).digest('base64url')
const loadBytes = async (url: string) => Buffer.from(await (await fetch(url)).arrayBuffer())
const readStatus = async (url: string, init: RequestInit = {}) => {
  const response = await fetch(url, init)
  return { status: response.status, text: await response.text(), headers: response.headers }
}

test('the copy is the original byte by byte, with its Content Credentials and EXIF', async () => {
  await using stage = await openStage()
  const original = await drawPicture('teal')
  stage.files.set('/pictures/a', original)
  const { id } = await stage.succeed('/pictures/a')
  const picture = await stage.keeper.follow(id)
  expect(picture).toMatchObject({ provenance: 'PRESENT', contentType: 'image/png', width: 300, height: 200 })
  const copy = await loadBytes(picture.url)
  expect(copy.equals(original)).toBe(true)
  expect((await sharp(copy).metadata()).exif?.toString('latin1')).toContain('Ann')
})

describe('a link', () => {
  test('that is not exactly right gets 404, whatever is wrong', async () => {
    await using stage = await openStage()
    stage.files.set('/pictures/a', await drawPicture('teal'))
    stage.files.set('/pictures/b', await drawPicture('plum'))
    const { id, key } = await stage.succeed('/pictures/a', '/pictures/b')
    const other = await stage.succeed('/pictures/a')
    await stage.keeper.follow(id)
    await stage.keeper.follow(other.id)
    const link = (task: string, position: number | string, signature: string) =>
      `${stage.keeper.gateway.url}/results/${task}/${position}/${signature}`
    for (const position of [0, 1])
      expect((await readStatus(link(id, position, sign(key, position)))).status).toBe(200)
    const right = sign(key, 0)
    const wrong = [
      link(id, 1, right),
      link(other.id, 0, right),
      link('no-task', 0, right),
      link(id, 2, sign(key, 2)),
      link(id, -1, sign(key, -1)),
      link(id, 'x', sign(key, NaN)),
      link(id, '__proto__', right),
      link(id, 0, right.slice(0, -1)),
      link(id, 0, `${right}A`),
      link(id, 0, right.toLowerCase()),
      link(id, 0, 'A'.repeat(43)),
      link(id, 0, 'é'.repeat(43)),
      link(id, 0, encodeURIComponent(`${right}\0`)),
    ]
    for (const url of wrong) {
      const { status, text, headers } = await readStatus(url)
      expect([url, status]).toEqual([url, 404])
      expect(text).toContain('There is no such picture.')
      expect(headers.get('cache-control')).toBe('no-store')
      // Not even whether its parameters would be right.
      expect((await readStatus(`${url}?width=1`)).status).toBe(404)
    }
  })

  test('gets 404 before the copy is stored, and if no copy is kept', async () => {
    await using stage = await openStage()
    stage.files.set(
      '/pictures/svg',
      Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>'),
    )
    for (const [path, copyState] of [
      ['/pictures/missing', 'PENDING'],
      ['/pictures/svg', 'LOST'],
    ] as const) {
      const { id, key } = await stage.succeed(path)
      expect(await stage.keeper.follow(id)).toMatchObject({
        copyState,
        sha256: null,
        url: expect.stringContaining(path),
        expiresAt: expect.any(String),
      })
      const url = `${stage.keeper.gateway.url}/results/${id}/0/${sign(key, 0)}`
      expect((await readStatus(url)).status).toBe(404)
    }
  })

  test('ends with its task, and not before the last task of the same bytes', async () => {
    await using keeper = await startKeeper()
    const [first, second] = [await keeper.upscale(), await keeper.upscale()]
    expect(first.picture.sha256).toBe(second.picture.sha256)
    await keeper.remove(first.id)
    expect((await readStatus(first.picture.url)).status).toBe(404)
    expect((await readStatus(`${second.picture.url}?width=256`)).status).toBe(200)
    await keeper.remove(second.id)
    for (const query of ['', '?width=256']) {
      const { status, text } = await readStatus(second.picture.url + query)
      expect([status, text]).toEqual([404, expect.stringContaining('There is no such picture.')])
    }
  })

  test('is served on the port of callbacks, too', async () => {
    await using keeper = await startKeeper({ CALLBACK_PORT: '0' })
    const { gateway } = keeper
    expect(gateway.callbackUrl).not.toBe(gateway.url)
    const { picture } = await keeper.upscale()
    const { pathname } = new URL(picture.url)
    const [here, there] = [
      await loadBytes(gateway.url + pathname),
      await loadBytes(gateway.callbackUrl + pathname),
    ]
    expect(here.equals(there)).toBe(true)
    expect(here.length).toBe(picture.byteSize)
  })

  test('begins with RESULT_URL, whose host is served', async () => {
    await using keeper = await startKeeper({ RESULT_URL: 'https://pictures.example.com/kept' })
    const { id, picture } = await keeper.upscale()
    const base = `https://pictures.example.com/kept/results/${id}/0/`
    expect(picture.url.startsWith(base)).toBe(true)
    // A proxy that passes on the host which it was asked for.
    const path = new URL(picture.url).pathname.replace('/kept', '')
    const request = httpRequest(keeper.gateway.url + path, {
      headers: { host: 'pictures.example.com' },
    }).end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    expect(response.resume().statusCode).toBe(200)
  })
})

/** Takes the store away, and gives it back at the end. */
async function takeAway({ folder }: Keeper): Promise<AsyncDisposable> {
  await rename(folder, `${folder}-away`)
  return { [Symbol.asyncDispose]: () => rename(`${folder}-away`, folder) }
}

test('while the store fails a link gets 503, which is not cached; then it recovers', async () => {
  await using keeper = await startKeeper()
  const { id, picture } = await keeper.upscale()
  {
    await using _away = await takeAway(keeper)
    for (const query of ['', '?width=256', '?download']) {
      const { status, text, headers } = await readStatus(picture.url + query)
      expect([status, text]).toEqual([503, expect.stringContaining('SERVICE_UNAVAILABLE')])
      expect(text).not.toContain(keeper.folder)
      expect(headers.get('retry-after')).toBe('2')
      expect(headers.get('cache-control')).toBe('no-store')
      expect(headers.get('access-control-allow-origin')).toBe('*')
      for (const name of ['etag', 'content-disposition', 'accept-ranges'])
        expect(headers.get(name)).toBeNull()
    }
    expect(keeper.gateway.log()).toContain('a copy could not be read')
    expect((await readStatus(picture.url.replace(id, 'other'))).status).toBe(404)
  }
  for (const query of ['', '?width=256']) expect((await readStatus(picture.url + query)).status).toBe(200)
})

test('a copy that was cut off in the store is not served in part', async () => {
  await using keeper = await startKeeper()
  const { picture } = await keeper.upscale()
  const hash = picture.sha256 ?? ''
  await truncate(`${keeper.folder}/${hash.slice(0, 2)}/${hash}`, 1_000)
  expect(await readStatus(picture.url)).toMatchObject({ status: 503 })
  expect(await readStatus(picture.url, { headers: { range: 'bytes=0-9' } })).toMatchObject({ status: 503 })
})
