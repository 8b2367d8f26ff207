import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { AwsV4Signer } from 'aws4fetch'
import got, { RequestError, type Delays, type Request } from 'got'
import type { Connector, Outbound } from '../net/outbound.ts'
import type { Clock } from '../tasks/ports.ts'

interface S3Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Of temporary credentials. */
  readonly sessionToken?: string
}

export interface S3Options {
  readonly bucket: string
  /** A folder of the bucket, without slashes at its ends; empty: the whole bucket. */
  readonly prefix: string
  /** A URL without a slash at its end. */
  readonly endpoint: string
  readonly region: string
  readonly credentials: S3Credentials
  readonly connector: Connector
  readonly clock: Clock
}

interface S3Request {
  readonly method: 'DELETE' | 'GET' | 'PUT'
  readonly key: string
  readonly headers?: Record<string, string>
  readonly body?: { readonly content: Readable | string; readonly byteSize: number; readonly sha256: string }
  readonly signal?: AbortSignal | undefined
}

export interface S3Answer {
  readonly status: number
  readonly headers: Record<string, string | string[] | undefined>
  /** The code of the error, such as `NoSuchKey`; undefined after success. */
  readonly code: string | undefined
  /** The content after a successful GET; otherwise it has already been read. */
  readonly body: Request
}

/**
 * Requests to one bucket with path-style URLs (ENDPOINT/BUCKET/KEY). Disposing aborts those that are running.
 */
export interface S3Client extends Disposable {
  /** Sends one request. Resolves with any status; rejects if there is no response. */
  send(request: S3Request): Promise<S3Answer>
  presign(key: string, parameters: Record<string, string>): Promise<string>
  /** An error that names the operation and the bucket, but no secret. */
  toError(operation: string, reason: unknown): Error
}

const EMPTY_SHA256 = createHash('sha256').digest('hex')
/** The usual error response has a few hundred bytes. */
const MAX_ERROR_LENGTH = 64 * 1024

/** For GET: a timeout for each phase before the body, and 60 s of inactivity during the body. */
const TIMEOUTS: Record<S3Request['method'], Delays> = {
  DELETE: { request: 10_000 },
  GET: { lookup: 10_000, connect: 10_000, secureConnect: 10_000, response: 10_000, socket: 60_000 },
  PUT: { request: 60_000 },
}

export function openS3Client(store: S3Options): S3Client {
  const { bucket, endpoint, connector } = store
  const outbound = connector.open({ keepAlive: true })
  const running = new Set<Request>()
  const sign = createSigner(store)
  const toError = (operation: string, reason: unknown) =>
    new Error(
      `S3 ${operation} in the bucket ${bucket} at ${new URL(endpoint).host} failed: ${toReason(reason)}`,
    )
  return {
    toError,
    async send(options) {
      const { method, signal } = options
      const request = startRequest(options, await signRequest(sign, options), outbound)
      running.add(request)
      request.once('close', () => running.delete(request))
      try {
        return await readAnswer(method, request)
      } catch (error) {
        request.destroy()
        signal?.throwIfAborted()
        // A got error holds the whole request with its signature: only its code and message are kept.
        throw toError(method, error)
      }
    },
    async presign(key, parameters) {
      const { url } = await sign(key, { method: 'GET', signQuery: true }, parameters)
      // Some parsers read a plus as a space, others as a plus.
      return url.href.replaceAll('+', '%20')
    },
    [Symbol.dispose]() {
      for (const request of running) request.destroy(new Error('aborted: the service is stopping'))
      outbound[Symbol.dispose]()
    },
  }
}

type Signed = Pick<AwsV4Signer, 'url' | 'headers'>
type Sign = ReturnType<typeof createSigner>

function signRequest(sign: Sign, { method, key, headers, body }: S3Request): Promise<Signed> {
  const hash = { 'x-amz-content-sha256': body?.sha256 ?? EMPTY_SHA256 }
  const length = body === undefined ? {} : { 'content-length': String(body.byteSize) }
  return sign(key, { method, headers: { ...headers, ...length, ...hash } })
}

function startRequest({ method, body, signal }: S3Request, signed: Signed, outbound: Outbound): Request {
  const request = got.stream(signed.url, {
    method,
    headers: Object.fromEntries(signed.headers),
    body: body?.content,
    agent: outbound.agentsFor(signed.url.href),
    timeout: TIMEOUTS[method],
    retry: { limit: 0 },
    followRedirect: false,
    throwHttpErrors: false,
    decompress: false,
    signal,
  })
  // got waits for a body except with GET.
  if (method === 'DELETE') request.end()
  return request
}

/** Returns a function that signs a request with AWS Signature Version 4. */
function createSigner({ bucket, prefix, endpoint, region, credentials, clock }: S3Options) {
  const folder = prefix === '' ? bucket : `${bucket}/${prefix}`
  /** The derived signing keys: one a day. */
  const cache = new Map<string, ArrayBuffer>()
  return (
    key: string,
    request: { method: string; headers?: Record<string, string>; signQuery?: boolean },
    parameters: Record<string, string> = {},
  ): Promise<Signed> => {
    const url = new URL(`${endpoint}/${`${folder}/${key}`.split('/').map(encodeStrictly).join('/')}`)
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
    const datetime = new Date(clock.now()).toISOString().replace(/[:-]|\.\d{3}/g, '')
    return new AwsV4Signer({
      ...request,
      ...credentials,
      url: url.href,
      service: 's3',
      region,
      datetime,
      cache,
    }).sign()
  }
}

/** Percent-encodes by RFC 3986, so that the path is sent as it is signed. */
function encodeStrictly(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

function readAnswer(method: string, request: Request): Promise<S3Answer> {
  return new Promise((resolve, reject) => {
    // Never removed: an error after the response would otherwise be uncaught.
    request.on('error', reject)
    request.once('response', ({ statusCode: status, headers }: NonNullable<Request['response']>) => {
      const isOk = status >= 200 && status < 300
      if (isOk && method === 'GET') {
        resolve({ status, headers, code: undefined, body: request })
        return
      }
      let text = ''
      request.setEncoding('utf8')
      request.on('data', (chunk: string) => {
        if (text.length < MAX_ERROR_LENGTH) text += chunk
      })
      request.once('end', () => {
        const code = isOk ? undefined : /<Code>(\w{1,100})<\/Code>/.exec(text)?.[1]
        resolve({ status, headers, code, body: request })
      })
    })
  })
}

function toReason(reason: unknown): string {
  if (reason instanceof RequestError) return `${reason.code}: ${reason.message}`
  return String(reason).replace(/^\w*Error: /, '')
}
