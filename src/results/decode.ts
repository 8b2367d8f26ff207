/** Decoding of pictures. Only the picture process imports this file: decoders are large, and may crash. */
import { stat } from 'node:fs/promises'
import sharp from 'sharp'
import { rgbaToThumbHash } from 'thumbhash'
import type { Log } from '../tasks/ports.ts'
import type { PictureFacts } from '../tasks/task.ts'
import { createSequence } from '../tasks/timing.ts'
import { UnusableError } from './unusable-error.ts'

/** Decodes pictures. Rejects with UnusableError if a picture is damaged or too large. */
export interface Decoder {
  /** `failOn`: how bad a fault must be to count, as in sharp. Rejects with the reason of `signal`. */
  measure(
    path: string,
    options: MeasureOptions,
  ): Promise<Pick<PictureFacts, 'width' | 'height' | 'thumbhash'>>
  /** Writes a smaller version, a WebP. Resolves to its size in bytes. */
  shrink(path: string, to: string, width: number): Promise<number>
}

interface MeasureOptions {
  readonly failOn: 'truncated' | 'error'
  readonly maxPixels: number
  readonly signal: AbortSignal
}

/** The memory of this process. Nothing can stop a decoder that needs too much, so the process has to end. */
interface MemoryLimit {
  readonly maxBytes: number
  readBytes(): number
  /** Called when the process has to end, with or without a refusal. */
  onExceeded(): void
}

/** The limit of thumbhash. */
const THUMBNAIL_PIXELS = 100
/** A picture of 100 megapixels takes about 2 s. */
const TIMEOUT_S = 30
/** Of each side. A picture with very long rows or very many of them takes disproportionately long. */
const MAX_SIDE = 65_535
const MEMORY_CHECK_MS = 10
/** The limit of WebP for each side. */
const MAX_WEBP_SIDE = 16_383

/**
 * Decodes one picture at a time: a picture of 100 megapixels can need 400 MB, so that many pictures that
 * arrive together would need too much memory.
 */
export function createDecoder(log: Log, limit?: MemoryLimit): Decoder {
  // Each picture is decoded once, so a cache only keeps memory. More threads decode no faster here, but each
  // has buffers.
  sharp.cache(false)
  sharp.concurrency(1)
  const inSequence = createSequence()
  let isEnding = false
  const end = (limit: MemoryLimit) => {
    isEnding = true
    limit.onExceeded()
  }
  const start = <T>(work: () => Promise<T>): Promise<T> => {
    if (limit === undefined) return work()
    // Memory that an earlier picture has left must not count for this one.
    if (!isEnding && limit.readBytes() > limit.maxBytes / 2) end(limit)
    // Not answered: the service repeats the order in a new process.
    if (isEnding) return new Promise(() => undefined)
    return limitMemory(limit, work(), () => end(limit))
  }
  const run = <T>(work: () => Promise<T>): Promise<T> => inSequence(() => start(work))
  return {
    measure: (path, options) =>
      run(async () => {
        options.signal.throwIfAborted()
        try {
          return await measure(path, options)
        } catch (error) {
          if (error instanceof UnusableError) throw error
          log.warn({ cause: String(error) }, 'a picture could not be decoded')
          throw new UnusableError('the picture is damaged or cut off', false)
        }
      }),
    shrink: (path, to, width) => run(() => shrink(path, to, width)),
  }
}

/**
 * Decodes the whole picture, so that damage anywhere is found, and keeps only a thumbnail: sRGB with alpha, 8
 * bits each, which is what sharp makes of any colour space.
 */
async function measure(path: string, { maxPixels, failOn }: MeasureOptions) {
  // The header is read without a limit, because the error of sharp's own limit has no code.
  const header = await sharp(path, { limitInputPixels: false, sequentialRead: true }).metadata()
  checkSize(header, maxPixels)
  const { data, info } = await sharp(path, { sequentialRead: true, limitInputPixels: maxPixels, failOn })
    .timeout({ seconds: TIMEOUT_S })
    .autoOrient()
    .resize(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS, { fit: 'inside', withoutEnlargement: true })
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  const { width, height } = header.autoOrient
  return {
    width,
    height,
    thumbhash: Buffer.from(rgbaToThumbHash(info.width, info.height, data)).toString('base64'),
  }
}

function checkSize({ width, height }: { width: number; height: number }, maxPixels: number): void {
  if (Math.max(width, height) > MAX_SIDE)
    throw new UnusableError(`the picture has more than ${MAX_SIDE} pixels on one side`, true)
  const pixels = width * height
  if (pixels <= maxPixels) return
  const [found, allowed] = [pixels, maxPixels].map((each) => Math.ceil(each / 1e6))
  throw new UnusableError(`the picture has ${found} megapixels; ${allowed} are allowed`, true)
}

/**
 * Formats that cannot be decoded row by row (AVIF, interlaced PNG, progressive JPEG) may need many bytes for
 * each pixel.
 */
async function limitMemory<T>(limit: MemoryLimit, work: Promise<T>, onExceeded: () => void): Promise<T> {
  const { promise: exceeded, reject } = Promise.withResolvers<never>()
  const timer = setInterval(() => {
    if (limit.readBytes() <= limit.maxBytes) return
    clearInterval(timer)
    onExceeded()
    reject(new UnusableError('decoding the picture needs too much memory', true))
  }, MEMORY_CHECK_MS)
  try {
    return await Promise.race([work, exceeded])
  } finally {
    clearInterval(timer)
  }
}

/**
 * The picture was inspected when it was kept: a fault that was accepted then does not prevent a smaller
 * version.
 */
async function shrink(path: string, to: string, width: number): Promise<number> {
  await sharp(path, { sequentialRead: true, limitInputPixels: false, failOn: 'none' })
    .timeout({ seconds: TIMEOUT_S })
    .autoOrient()
    .resize({ width, height: MAX_WEBP_SIDE, fit: 'inside', withoutEnlargement: true })
    .webp()
    .toFile(to)
  return (await stat(to)).size
}
