import { createHash, randomUUID } from 'node:crypto'
import { open } from 'node:fs/promises'
import { PassThrough, type Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { checkKey, checkRange, type ByteRange, type CopyStore, type StoredFile } from './copy-store.ts'
import { openS3Client, type S3Answer, type S3Client, type S3Options } from './s3-client.ts'

/** Stores copies in a bucket of an S3-compatible store. Does not retry. Disposing aborts running requests. */
export function openS3Store(options: S3Options): CopyStore {
  const client = openS3Client(options)
  return {
    async put(key, file, signal) {
      checkKey(key)
      if ((await readSize(client, key, signal)) === file.byteSize) return
      // It ends with its last byte, not with another read, so that the connection is free when the answer has
      // arrived.
      const content = (await open(file.path)).createReadStream({ end: file.byteSize - 1 })
      try {
        const body = { content, byteSize: file.byteSize, sha256: file.sha256 }
        await upload(client, key, { ...body, contentType: file.contentType }, signal)
      } finally {
        content.destroy()
      }
    },
    read: async (key, range) => {
      checkKey(key)
      return await readStored(client, key, range)
    },
    async remove(keys) {
      keys.forEach(checkKey)
      for (const key of keys) await remove(client, key)
    },
    async presign(key, { contentType, contentDisposition, expiresInS }) {
      checkKey(key)
      return await client.presign(key, {
        'X-Amz-Expires': String(expiresInS),
        'response-content-type': contentType,
        ...(contentDisposition !== null && { 'response-content-disposition': contentDisposition }),
      })
    },
    check: () => check(client),
    [Symbol.dispose]: () => client[Symbol.dispose](),
  }
}

interface Upload {
  readonly content: Readable | string
  readonly byteSize: number
  readonly sha256: string
  readonly contentType: string
}

/** S3 checks length and hash, and stores an object only if both match. */
async function upload(
  client: S3Client,
  key: string,
  { contentType, ...body }: Upload,
  signal?: AbortSignal,
): Promise<void> {
  const headers = { 'content-type': contentType }
  const answer = await client.send({ method: 'PUT', key, headers, body, signal })
  if (!isOk(answer)) throw client.toError('PUT', toFault(answer))
}

/**
 * Undefined unless the first byte can be read: the upload is then tried, and reports the error. Without the
 * right to list a bucket, S3 answers 403 for a missing key. GET instead of HEAD, because Swift ends some
 * responses to HEAD with a chunk, which breaks the connection.
 */
async function readSize(client: S3Client, key: string, signal?: AbortSignal): Promise<number | undefined> {
  const answer = await client.send({ method: 'GET', key, headers: { range: 'bytes=0-0' }, signal })
  if (answer.status !== 206) {
    answer.body.destroy()
    return undefined
  }
  const { body, byteSize } = toStored(client, answer, { start: 0, end: 0 })
  await buffer(body)
  return byteSize
}

async function readStored(client: S3Client, key: string, range?: ByteRange): Promise<StoredFile | undefined> {
  const headers = range === undefined ? {} : { range: `bytes=${range.start}-${range.end}` }
  const answer = await client.send({ method: 'GET', key, headers })
  if (answer.code === 'NoSuchKey') return undefined
  if (!isOk(answer)) throw client.toError('GET', toFault(answer))
  return toStored(client, answer, range)
}

function toStored(client: S3Client, answer: S3Answer, range?: ByteRange): StoredFile {
  try {
    const byteSize = toFileSize(answer, range)
    if (range !== undefined) checkRange(range, byteSize)
    return { body: toBody(client, answer), byteSize }
  } catch (error) {
    answer.body.destroy()
    throw client.toError('GET', error)
  }
}

/** The content. Its errors contain no secret. Destroying it ends the request. */
function toBody(client: S3Client, { body: request }: S3Answer): Readable {
  const body = new PassThrough()
  // An error before the body is read would otherwise be uncaught.
  body.on('error', () => undefined)
  request.on('error', (error) => body.destroy(client.toError('GET', error)))
  body.once('close', () => request.destroy())
  return request.pipe(body)
}

function toFileSize({ status, headers }: S3Answer, range: ByteRange | undefined): number {
  const isPart = range !== undefined
  const size = isPart ? /\/(\d+)$/.exec(String(headers['content-range']))?.[1] : headers['content-length']
  if (status !== (isPart ? 206 : 200) || size === undefined)
    throw new Error(`the answer ${status} has no ${isPart ? 'range' : 'length'}`)
  return Number(size)
}

async function remove(client: S3Client, key: string): Promise<void> {
  const answer = await client.send({ method: 'DELETE', key })
  if (!isOk(answer) && answer.code !== 'NoSuchKey') throw client.toError('DELETE', toFault(answer))
}

async function check(client: S3Client): Promise<void> {
  try {
    await probe(client)
  } catch (error) {
    const reason = String(error).replace(/^Error: /, '')
    throw new Error(
      `${reason}: check the bucket, endpoint and region of the store, and that its credentials may get, put and delete objects`,
      { cause: error },
    )
  }
}

/** Writes, reads and deletes an object. */
async function probe(client: S3Client): Promise<void> {
  const content = randomUUID()
  const key = `probe/${content}`
  const sha256 = createHash('sha256').update(content).digest('hex')
  await upload(client, key, { content, byteSize: content.length, sha256, contentType: 'text/plain' })
  try {
    const stored = await readStored(client, key)
    if (stored === undefined || (await text(stored.body)) !== content)
      throw client.toError('GET', 'an object has other content than was written')
  } finally {
    await remove(client, key)
  }
}

function isOk({ status }: S3Answer): boolean {
  return status >= 200 && status < 300
}

function toFault({ status, code }: S3Answer): string {
  return code === undefined ? `status ${status}` : `${code} (status ${status})`
}
