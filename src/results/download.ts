import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import { pipeline } from 'node:stream/promises'
import got, { RequestError, type Request } from 'got'
import type { Guard } from '../net/guard.ts'
import { PrivateAddressError } from '../net/public-address.ts'
import type { Clock } from '../tasks/ports.ts'
import type { PictureFacts } from '../tasks/task.ts'
import { UnusableError } from './unusable-error.ts'

export interface DownloadLimits {
  readonly maxBytes: number
  /** Redirects that are followed. */
  readonly maxRedirects: number
  /** How long the whole download may take, with its redirects. */
  readonly timeoutMs: number
}

interface DownloadOptions {
  readonly guard: Guard
  readonly limits: DownloadLimits
  readonly clock: Clock
}

type Download = (url: string, path: string, signal: AbortSignal) => Promise<DownloadedFile>
type DownloadedFile = Pick<PictureFacts, 'byteSize' | 'sha256'>

/** A request whose response has begun, with the head of the response. */
interface Answer {
  readonly request: Request
  readonly status: number
  readonly headers: IncomingHttpHeaders
}

const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308]
const GONE = 410

/**
 * Returns a function that streams what a URL serves to a new file, which only this user can read. It throws
 * UnusableError after any fault of the server or the network, otherwise the reason of `signal` or the error
 * of the local disk.
 */
export function createDownload({ guard, limits, clock }: DownloadOptions): Download {
  return async (url, path, signal) => {
    const deadline = new AbortController()
    using _timer = clock.after(limits.timeoutMs, () => deadline.abort())
    const ended = AbortSignal.any([signal, deadline.signal])
    try {
      await using file = await open(path, 'wx', 0o600)
      const answer = await followRedirects(url, limits.maxRedirects, (next) => send(next, guard, ended))
      return await receive(answer, file.createWriteStream(), limits.maxBytes)
    } catch (error) {
      signal.throwIfAborted()
      if (deadline.signal.aborted)
        throw new UnusableError(`the download took longer than ${limits.timeoutMs} ms`, false)
      throw toUnusable(error)
    }
  }
}

/** Follows redirects to a response with status 200. */
async function followRedirects(
  url: string,
  maxRedirects: number,
  request: (url: string) => Promise<Answer>,
): Promise<Answer> {
  let next = url
  for (let redirects = 0; redirects <= maxRedirects; redirects += 1) {
    const answer = await request(next)
    const { status, headers } = answer
    if (status === 200) return answer
    answer.request.destroy()
    if (!REDIRECTS.includes(status) || headers.location === undefined)
      throw new UnusableError(`the server answered with the status ${status}`, status === GONE)
    next = URL.parse(headers.location, next)?.href ?? ''
  }
  throw new UnusableError(`the server redirected more than ${maxRedirects} times`, false)
}

/** Sends one request and waits for the head of its response. */
async function send(url: string, guard: Guard, signal: AbortSignal): Promise<Answer> {
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? ''))
    throw new UnusableError('the URL is not an http or https URL', false)
  const request = got.stream(url, {
    agent: guard.agentsFor(url),
    headers: { accept: 'image/*', 'accept-encoding': 'identity', 'user-agent': 'upscale-gateway' },
    decompress: false,
    followRedirect: false,
    throwHttpErrors: false,
    retry: { limit: 0 },
    signal,
  })
  // `once` and `pipeline` report errors. Between the two an error without a listener would end the process.
  request.on('error', () => undefined)
  await once(request, 'response')
  const { statusCode: status = 0, headers = {} } = request.response ?? {}
  return { request, status, headers }
}

/** Streams the body to the disk, and computes its size and hash. */
async function receive(
  { request, headers }: Answer,
  target: NodeJS.WritableStream,
  maxBytes: number,
): Promise<DownloadedFile> {
  const hash = createHash('sha256')
  let byteSize = 0
  const measure = async function* (body: AsyncIterable<Buffer>) {
    for await (const chunk of body) {
      byteSize += chunk.length
      checkSize(byteSize, maxBytes)
      hash.update(chunk)
      yield chunk
    }
  }
  try {
    checkSize(Number(headers['content-length'] ?? 0), maxBytes)
    if ((headers['content-encoding'] ?? 'identity') !== 'identity')
      throw new UnusableError('the server compressed the file, although only `identity` was accepted', false)
    await pipeline(request, measure, target)
  } finally {
    request.destroy()
  }
  if (byteSize === 0) throw new UnusableError('the body is empty', false)
  return { byteSize, sha256: hash.digest('hex') }
}

function checkSize(byteSize: number, maxBytes: number): void {
  if (byteSize > maxBytes) throw new UnusableError(`the file is larger than ${maxBytes} bytes`, true)
}

/**
 * Only the code of a network error is passed on: its message contains the host, and the error contains the
 * URL.
 */
function toUnusable(error: unknown): unknown {
  if (error instanceof PrivateAddressError) return toUnusableHost()
  if (!(error instanceof RequestError)) return error
  if (error.code === 'ERR_PRIVATE_ADDRESS') return toUnusableHost()
  return new UnusableError(`the download failed (${error.code})`, false)
}

function toUnusableHost(): UnusableError {
  return new UnusableError('the host has no public address', false)
}
