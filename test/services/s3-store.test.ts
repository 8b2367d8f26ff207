import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { inspect } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { AwsV4Signer } from 'aws4fetch'
import { openConnector } from '../../src/net/outbound.ts'
import type { CopyStore, StoredFile } from '../../src/results/copy-store.ts'
import type { S3Options } from '../../src/results/s3-client.ts'
import { openS3Store } from '../../src/results/s3-store.ts'
import { describeCopyStore, readBytes, writeLocalFile } from '../contract/copy-store.ts'
import { ManualClock } from '../support/clock.ts'
import { hasS3Server, startS3Server, type S3Server } from '../support/s3-server.ts'
import { findPort } from '../support/servers.ts'
import { openTempDir } from '../support/temp-dir.ts'

const KEY = 'ab/abcdef.png'
const SECRET = 'a-secret-of-the-tests'
const PRESIGNED = { contentType: 'image/webp', contentDisposition: null, expiresInS: 60 }

function clockAt(shiftMs = 0): ManualClock {
  const clock = new ManualClock()
  clock.step(Date.now() - clock.now() + shiftMs)
  return clock
}

/** The message of an error, and all that it holds. */
const errorOf = async (promise: Promise<unknown>) =>
  promise.then(
    () => ({ message: 'no error', all: '' }),
    (error: unknown) => ({
      message: error instanceof Error ? error.message : String(error),
      all: inspect(error, { depth: 6, showHidden: true }),
    }),
  )

const readAll = async (stored: StoredFile | undefined) => stored && (await buffer(stored.body))

const describeWithServer = hasS3Server ? describe : describe.skip
describeWithServer('on an S3 server (tools/install-s3-server.sh)', () => {
  let server: S3Server
  beforeAll(async () => {
    server = await startS3Server()
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
  })

  /** Options of a store in a new bucket. */
  const setUp = async (changes: Partial<S3Options> = {}) => {
    const connector = openConnector()
    const options: S3Options = {
      bucket: await server.createBucket(),
      prefix: "results of/ünï+codé's (1)*!",
      endpoint: server.url,
      region: 'us-east-1',
      credentials: server.credentials,
      connector,
      clock: clockAt(),
      ...changes,
    }
    return {
      options,
      open: (more: Partial<S3Options> = {}) => openS3Store({ ...options, ...more }),
      [Symbol.asyncDispose]() {
        connector[Symbol.dispose]()
        return Promise.resolve()
      },
    }
  }

  const putText = async (store: CopyStore, text: string) => {
    await using dir = await openTempDir()
    await store.put(KEY, await writeLocalFile(dir.path, Buffer.from(text)))
  }

  describeCopyStore('The S3 store', () => setUp())

  test('a wrong secret is refused, and the error names operation, bucket, host and code, but no secret', async () => {
    await using place = await setUp()
    await using dir = await openTempDir()
    const { options } = place
    const credentials = { ...server.credentials, secretAccessKey: SECRET, sessionToken: `${SECRET}-2` }
    using store = place.open({ credentials })
    const file = await writeLocalFile(dir.path, Buffer.from('picture'))
    const where = `in the bucket ${options.bucket} at ${new URL(server.url).host} failed`
    for (const [operation, call] of [
      ['PUT', store.put(KEY, file)],
      ['GET', store.read(KEY)],
      ['DELETE', store.remove([KEY])],
      ['PUT', store.check()],
    ] as const) {
      const { message, all } = await errorOf(call)
      expect(message).toContain(`S3 ${operation} ${where}: SignatureDoesNotMatch (status 403)`)
      expect(all).not.toMatch(new RegExp(`${SECRET}|Signature=|X-Amz|AWS4-HMAC`, 'i'))
    }
    using right = place.open()
    expect(await right.read(KEY)).toBeUndefined()
  })

  test('a large picture that is refused during the upload gives the reason', async () => {
    await using place = await setUp({ bucket: 'no-such-bucket' })
    await using dir = await openTempDir()
    using store = place.open()
    const file = await writeLocalFile(dir.path, Buffer.alloc(30 * 1024 * 1024))
    await expect(store.put(KEY, file)).rejects.toThrow('failed: NoSuchBucket (status 404)')
    await expect(store.read(KEY)).rejects.toThrow('failed: NoSuchBucket (status 404)')
    await expect(store.remove([KEY])).rejects.toThrow('failed: NoSuchBucket (status 404)')
    await expect(store.check()).rejects.toThrow(/NoSuchBucket .*: check the bucket, endpoint and region/)
  })

  test('requests are dated by the clock of the service, and a wrong clock is named', async () => {
    await using place = await setUp({ clock: clockAt(3_600_000) })
    using store = place.open()
    await expect(putText(store, 'picture')).rejects.toThrow('RequestTimeTooSkewed')
  })

  test('the server checks the bytes against the hash, and stores no others', async () => {
    await using place = await setUp()
    await using dir = await openTempDir()
    using store = place.open()
    const file = await writeLocalFile(dir.path, Buffer.from('picture'))
    const sha256 = createHash('sha256').update('another').digest('hex')
    await expect(store.put(KEY, { ...file, sha256 })).rejects.toThrow(/Digest|SHA256/)
    expect(await store.read(KEY)).toBeUndefined()
  })

  test('a picture whose upload was cut off cannot be read', async () => {
    await using place = await setUp({ prefix: '' })
    using store = place.open()
    const bytes = randomBytes(100_000)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const signer = new AwsV4Signer({
      ...server.credentials,
      method: 'PUT',
      url: `${server.url}/${place.options.bucket}/${KEY}`,
      headers: { 'x-amz-content-sha256': sha256 },
      service: 's3',
    })
    const { url, headers } = await signer.sign()
    const socket = connect(Number(url.port), '127.0.0.1')
    const lines = [...headers, ['host', url.host], ['content-length', '100000']].map((pair) =>
      pair.join(': '),
    )
    socket.write([`PUT ${url.pathname} HTTP/1.1`, ...lines, '', ''].join('\r\n'))
    socket.write(bytes.subarray(0, 60_000), () => socket.end())
    socket.resume()
    await once(socket, 'close')
    expect(await store.read(KEY)).toBeUndefined()
    await putText(store, 'picture')
    expect(await readBytes(store, KEY)).toEqual(Buffer.from('picture'))
  })

  test('a presigned URL serves the picture with its type and disposition, without credentials', async () => {
    await using place = await setUp()
    using store = place.open()
    await putText(store, 'picture')
    const contentDisposition = `attachment; filename="a cat+dog.webp"; filename*=UTF-8''caf%C3%A9.webp`
    const url = await store.presign(KEY, { ...PRESIGNED, contentDisposition })
    const answer = await fetch(url ?? '')
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-type')).toBe('image/webp')
    expect(answer.headers.get('content-disposition')).toBe(contentDisposition)
    expect(await answer.text()).toBe('picture')
    expect(url).not.toContain(server.credentials.secretAccessKey)

    const inline = await fetch((await store.presign(KEY, PRESIGNED)) ?? '', {
      headers: { range: 'bytes=1-2' },
    })
    expect(inline.status).toBe(206)
    expect(inline.headers.get('content-disposition')).toBeNull()
    expect(await inline.text()).toBe('ic')
  })

  test('a presigned URL that has expired, or was changed, is refused', async () => {
    await using place = await setUp()
    using store = place.open()
    await putText(store, 'picture')
    using past = place.open({ clock: clockAt(-120_000) })
    expect((await fetch((await past.presign(KEY, { ...PRESIGNED, expiresInS: 180 })) ?? '')).status).toBe(200)
    const expired = await fetch((await past.presign(KEY, PRESIGNED)) ?? '')
    expect([expired.status, await expired.text()]).toEqual([403, expect.stringContaining('expired')])
    const changed = ((await store.presign(KEY, PRESIGNED)) ?? '').replace('image%2Fwebp', 'text%2Fhtml')
    expect(changed).toContain('text%2Fhtml')
    expect((await fetch(changed)).status).toBe(403)
  })
})

describe('the S3 store', () => {
  /** A store on a server that answers as the test says. */
  const openScripted = async (
    listener: RequestListener,
    credentials: Partial<S3Options['credentials']> = {},
  ) => {
    const server = createServer(listener).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    return {
      ...openOn(`http://127.0.0.1:${port}`, credentials),
      port,
      [Symbol.dispose]: () => void server.close(),
    }
  }

  const openOn = (endpoint: string, credentials: Partial<S3Options['credentials']> = {}) => {
    const connector = openConnector()
    const store = openS3Store({
      bucket: 'bucket',
      prefix: 'results',
      endpoint,
      region: 'eu-west-3',
      credentials: { accessKeyId: 'AKID', secretAccessKey: SECRET, ...credentials },
      connector,
      clock: clockAt(),
    })
    return { store }
  }

  test('an endpoint that cannot be reached is named', async () => {
    const port = await findPort()
    const { store } = openOn(`http://127.0.0.1:${port}`)
    const { message } = await errorOf(store.read(KEY))
    expect(message).toMatch(`S3 GET in the bucket bucket at 127.0.0.1:${port} failed: ECONNREFUSED`)
    await expect(store.check()).rejects.toThrow('ECONNREFUSED')
    store[Symbol.dispose]()
  })

  test('an answer that is cut off is an error of the body, and holds no secret', async () => {
    using scripted = await openScripted((_, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('picture', () => response.destroy())
    })
    const stored = await scripted.store.read(KEY)
    const { message, all } = await errorOf(readAll(stored))
    expect(message).toContain(
      `S3 GET in the bucket bucket at 127.0.0.1:${scripted.port} failed: ERR_HTTP_CONTENT_LENGTH_MISMATCH`,
    )
    expect(all).not.toMatch(/Signature|AWS4-HMAC/)
    scripted.store[Symbol.dispose]()
  })

  test('a server that ignores the range is refused', async () => {
    using scripted = await openScripted((_, response) => void response.end('picture'))
    await expect(scripted.store.read(KEY, { start: 0, end: 2 })).rejects.toThrow(
      'the answer 200 has no range',
    )
    scripted.store[Symbol.dispose]()
  })

  test('an error response that is not XML is reported by its status', async () => {
    using scripted = await openScripted(
      (_, response) => void response.writeHead(502).end('<html>bad gateway'),
    )
    await expect(scripted.store.remove([KEY])).rejects.toThrow('failed: status 502')
    scripted.store[Symbol.dispose]()
  })

  test('the temporary credentials, the region and the length of the picture are sent', async () => {
    const requests: Record<string, unknown>[] = []
    using scripted = await openScripted(
      (request, response) => {
        requests.push({ method: request.method, url: request.url, ...request.headers })
        request.resume().once('end', () => response.writeHead(request.method === 'GET' ? 403 : 200).end())
      },
      { sessionToken: 'token' },
    )
    await using dir = await openTempDir()
    const file = await writeLocalFile(dir.path, Buffer.from('picture'))
    await scripted.store.put(KEY, file)
    expect(requests).toMatchObject([
      { method: 'GET', url: '/bucket/results/ab/abcdef.png', range: 'bytes=0-0' },
      {
        method: 'PUT',
        url: '/bucket/results/ab/abcdef.png',
        'content-length': '7',
        'content-type': 'image/png',
        'x-amz-content-sha256': file.sha256,
        'x-amz-security-token': 'token',
        authorization: expect.stringMatching(
          /^AWS4-HMAC-SHA256 Credential=AKID\/\d{8}\/eu-west-3\/s3\/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, /,
        ),
      },
    ])
    const url = new URL((await scripted.store.presign(KEY, PRESIGNED)) ?? '')
    expect(Object.fromEntries(url.searchParams)).toMatchObject({
      'X-Amz-Security-Token': 'token',
      'X-Amz-Expires': '60',
    })
    scripted.store[Symbol.dispose]()
  })

  test('requests share a connection, and a server may say that a file to remove is missing', async () => {
    const connections = new Set<unknown>()
    using scripted = await openScripted((request, response) => {
      connections.add(request.socket)
      const answer = () =>
        response.writeHead(request.method === 'PUT' ? 200 : 404).end('<Code>NoSuchKey</Code>')
      request.resume().once('end', answer)
    })
    await using dir = await openTempDir()
    await scripted.store.put(KEY, await writeLocalFile(dir.path, Buffer.from('picture')))
    expect(await scripted.store.read(KEY)).toBeUndefined()
    await scripted.store.remove([KEY, KEY])
    expect(connections.size).toBe(1)
    scripted.store[Symbol.dispose]()
  })

  test('destroying the body of an answer ends the request', async () => {
    const closed = Promise.withResolvers<void>()
    using scripted = await openScripted((_, response) => {
      response.once('close', closed.resolve).writeHead(200, { 'content-length': '100' }).write('picture')
    })
    const stored = await scripted.store.read(KEY)
    stored?.body.destroy()
    await closed.promise
    scripted.store[Symbol.dispose]()
  })

  test('disposing aborts a request that waits, and a body that is being read', async () => {
    const asked = Promise.withResolvers<void>()
    using scripted = await openScripted((request, response) => {
      if (request.method === 'DELETE') asked.resolve()
      else response.writeHead(200, { 'content-length': '100' }).write('picture')
    })
    const stored = await scripted.store.read(KEY)
    const removed = errorOf(scripted.store.remove([KEY]))
    const read = errorOf(readAll(stored))
    await asked.promise
    scripted.store[Symbol.dispose]()
    expect((await removed).message).toContain('aborted: the service is stopping')
    expect((await read).message).toContain('aborted: the service is stopping')
  })

  test('a put that waits for its answer is aborted with the reason of the signal', async () => {
    const asked = Promise.withResolvers<void>()
    using scripted = await openScripted((request, response) => {
      if (request.method === 'PUT') asked.resolve()
      else response.writeHead(404).end()
    })
    await using dir = await openTempDir()
    const controller = new AbortController()
    const file = await writeLocalFile(dir.path, Buffer.from('picture'))
    const put = scripted.store.put(KEY, file, controller.signal)
    const reason = new Error('the lease was lost')
    await Promise.all([expect(put).rejects.toBe(reason), asked.promise.then(() => controller.abort(reason))])
    scripted.store[Symbol.dispose]()
  })
})
