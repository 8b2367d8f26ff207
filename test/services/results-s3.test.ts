import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { AwsV4Signer } from 'aws4fetch'
import sharp from 'sharp'
import { GetPicturesDocument } from '../generated/operations.ts'
import { ManualClock } from '../support/clock.ts'
import { startKeeper, type Keeper } from '../support/kept.ts'
import { hasS3Server, startS3Server, type S3Server } from '../support/s3-server.ts'
import { waitFor } from '../support/wait-for.ts'

/** Stands before a server, which is down while this is shut: connections end at once. */
async function startGate(target: string) {
  const { hostname, port } = new URL(target)
  const sockets = new Set<Socket>()
  let isShut = false
  const server = createServer((client) => {
    if (isShut) return void client.destroy()
    const inner = connect(Number(port), hostname)
    for (const [from, to] of [
      [client, inner],
      [inner, client],
    ] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy()).on('close', () => sockets.delete(from))
      from.pipe(to)
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cutOff = () => sockets.forEach((socket) => socket.destroy())
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    shut() {
      isShut = true
      cutOff()
    },
    open: () => void (isShut = false),
    async [Symbol.asyncDispose]() {
      cutOff()
      server.close()
      await once(server, 'close')
    },
  }
}

const load = async (url: string, init: RequestInit = {}) => {
  const response = await fetch(url, { redirect: 'manual', ...init })
  const { status, headers } = response
  return { status, headers, body: Buffer.from(await response.arrayBuffer()) }
}

const describeWithServer = hasS3Server ? describe : describe.skip
describeWithServer('with RESULT_STORE=s3://… (tools/install-s3-server.sh)', () => {
  let server: S3Server
  let bucket: string
  beforeAll(async () => {
    server = await startS3Server()
    bucket = await server.createBucket()
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
  })

  const toSettings = (prefix: string, endpoint = server.url) => ({
    RESULT_STORE: `s3://${bucket}/${prefix}?endpoint=${encodeURIComponent(endpoint)}&region=us-east-1`,
    AWS_ACCESS_KEY_ID: server.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.credentials.secretAccessKey,
  })

  /** The names of the objects below a prefix, without it. */
  async function listObjects(prefix: string): Promise<string[]> {
    const url = `${server.url}/${bucket}?list-type=2&prefix=${prefix}`
    const { headers } = await new AwsV4Signer({ ...server.credentials, url, service: 's3' }).sign()
    const text = await (await fetch(url, { headers })).text()
    const keys = [...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = '']) =>
      key.slice(prefix.length + 1),
    )
    return keys.filter((key) => !key.startsWith('probe/')).sort()
  }

  test('a result settles with a copy in the bucket, which the gateway streams, also as ranges and renditions', async () => {
    await using keeper = await startKeeper(toSettings('streamed'))
    const { id, picture } = await keeper.upscale()
    expect(picture).toMatchObject({ copyState: 'KEPT', expiresAt: null, width: 1024 })
    // On a busy machine the source image is measured after the result.
    await waitFor(async () => (await keeper.follow(id)).enlargement === 4)
    const { sha256 } = picture
    expect(await listObjects('streamed')).toEqual([`${sha256?.slice(0, 2)}/${sha256}`])
    const original = await load(picture.originalUrl)
    const copy = await load(picture.url)
    expect(copy.status).toBe(200)
    expect(copy.body.equals(original.body)).toBe(true)
    expect(copy.headers.get('content-type')).toBe('image/png')
    expect(copy.headers.get('etag')).toBe(`"${sha256}"`)
    const part = await load(picture.url, { headers: { range: 'bytes=10-19' } })
    expect([part.status, part.body.equals(original.body.subarray(10, 20))]).toEqual([206, true])
    const small = await load(`${picture.url}?width=256`)
    expect(await sharp(small.body).metadata()).toMatchObject({ format: 'webp', width: 256 })
    expect(await listObjects('streamed')).toHaveLength(2)
  })

  test('with RESULT_REDIRECT=on a link redirects to the bucket, which serves the picture with its type and name', async () => {
    await using keeper = await startKeeper({ ...toSettings('redirected'), RESULT_REDIRECT: 'on' })
    const { picture } = await keeper.upscale()
    const original = await load(picture.originalUrl)
    for (const [query, type, disposition] of [
      ['', 'image/png', null],
      ['?download', 'image/png', 'attachment; filename="upscale-source-0.png"'],
      ['?width=256&download', 'image/webp', 'attachment; filename="upscale-source-0-256.webp"'],
    ] as const) {
      const { status, headers } = await load(picture.url + query)
      const location = headers.get('location') ?? ''
      expect([status, new URL(location).origin]).toEqual([302, server.url])
      expect(headers.get('access-control-allow-origin')).toBe('*')
      // Less than the 300 s for which the URL is valid.
      expect(headers.get('cache-control')).toBe('private, max-age=60')
      const found = await load(location)
      expect(found.status).toBe(200)
      expect(found.headers.get('content-type')).toBe(type)
      expect(found.headers.get('content-disposition')).toBe(disposition)
      if (type === 'image/png') expect(found.body.equals(original.body)).toBe(true)
      else expect(await sharp(found.body).metadata()).toMatchObject({ format: 'webp', width: 256 })
    }
    // A presigned URL is for GET only.
    const head = await load(picture.url, { method: 'HEAD' })
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(picture.byteSize)])
    expect((await load(`${picture.url}x`)).status).toBe(404)
  })

  test('the deletion of the last task of a copy deletes the copy and its renditions from the bucket', async () => {
    await using keeper = await startKeeper(toSettings('deleted'))
    const [first, second] = [await keeper.upscale(), await keeper.upscale()]
    for (const width of [256, 512]) await load(`${first.picture.url}?width=${width}`)
    expect(await listObjects('deleted')).toHaveLength(3)
    await keeper.remove(first.id)
    expect(await listObjects('deleted')).toHaveLength(3)
    expect((await load(second.picture.url)).status).toBe(200)
    await keeper.remove(second.id)
    await waitFor(async () => (await listObjects('deleted')).length === 0)
    expect((await load(second.picture.url)).status).toBe(404)
  })

  const readTask = async ({ gateway }: Keeper, id: string) => {
    const { data } = await gateway.run('HTTP', GetPicturesDocument, { id })
    const task = data?.upscaleTask
    return { version: task?.version ?? 0, status: task?.status, picture: task?.images?.[0] }
  }

  test('while S3 is down a result settles with its facts, and the copy follows when S3 is back', async () => {
    await using gate = await startGate(server.url)
    const clock = new ManualClock()
    clock.step(Date.now() - clock.now())
    await using keeper = await startKeeper(toSettings('down', gate.url), { clock })
    gate.shut()
    const { id, picture } = await keeper.upscale()
    expect(picture).toMatchObject({
      copyState: 'PENDING',
      url: picture.originalUrl,
      expiresAt: expect.any(String),
      width: 1024,
      sha256: expect.stringMatching(/^[\da-f]{64}$/),
    })
    const before = await readTask(keeper, id)
    expect(before.status).toBe('SUCCEEDED')
    gate.open()
    // The next attempt is due after 5 s.
    clock.advance(6_000)
    await waitFor(async () => {
      clock.advance(50)
      return (await readTask(keeper, id)).version > before.version
    })
    const after = await readTask(keeper, id)
    expect(after).toMatchObject({ version: before.version + 1, status: 'SUCCEEDED' })
    expect(after.picture).toMatchObject({ copyState: 'KEPT', expiresAt: null, sha256: picture.sha256 })
    expect((await load(after.picture?.url ?? '')).body.length).toBe(picture.byteSize)
  })

  test('while S3 is down the link of a copy gets 503', async () => {
    await using gate = await startGate(server.url)
    await using keeper = await startKeeper(toSettings('away', gate.url))
    const { picture } = await keeper.upscale()
    gate.shut()
    const { status, headers, body } = await load(picture.url)
    expect([status, headers.get('retry-after'), headers.get('cache-control')]).toEqual([503, '2', 'no-store'])
    expect(body.toString()).not.toContain(bucket)
    gate.open()
    expect((await load(picture.url)).status).toBe(200)
  })
})
