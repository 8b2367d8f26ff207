import { open, type FileHandle } from 'node:fs/promises'
import { rgbaToThumbHash } from 'thumbhash'
import type { Log } from '../tasks/ports.ts'
import type { PictureFacts } from '../tasks/task.ts'
import { HEAD_BYTES, isRasterType, toMediaType, type MediaType, type RasterType } from './media-types.ts'
import { readContainer } from './provenance.ts'
import { UnusableError } from './unusable-error.ts'

/** The facts that need the picture to be decoded. */
type InspectedFacts = Omit<PictureFacts, 'byteSize' | 'sha256'>

/** Measures the picture in a file. Throws UnusableError if it is not a raster picture, too large or damaged. */
type Inspect = (path: string, signal: AbortSignal) => Promise<InspectedFacts>

type Sharp = (typeof import('sharp'))['default']

/** The limit of thumbhash. */
const THUMBNAIL_PIXELS = 100
/** A picture of 100 megapixels takes about 2 s. */
const DECODE_TIMEOUT_S = 30
/** The reason why a type cannot be used, and whether it is permanent: HTML and text may be an error message of the server. */
const REFUSALS: Readonly<Record<Exclude<MediaType, RasterType>, readonly [string, boolean]>> = {
  svg: ['the file is an SVG drawing, not a raster picture', true],
  html: ['the file is an HTML page, not a picture', false],
  text: ['the file is text, not a picture', false],
  other: ['the file is not a PNG, JPEG, WebP, AVIF, GIF or TIFF picture', true],
}

/**
 * Decodes one picture at a time, to bound the memory: a picture of 100 megapixels can need 400 MB. Loads sharp at the first
 * use, because a service without inspections and renditions does not need it.
 */
export function createInspect(maxPixels: number, log: Log): Inspect {
  let loading: Promise<Sharp> | undefined
  let last: Promise<unknown> = Promise.resolve()
  return async (path, signal) => {
    const { type, provenance } = await readType(path)
    loading ??= loadSharp()
    const sharp = await loading
    const decoded = last.then(() => {
      signal.throwIfAborted()
      return decode(sharp, { path, type, maxPixels, log })
    })
    last = decoded.catch(() => undefined)
    return { ...(await decoded), contentType: type, provenance }
  }
}

async function loadSharp(): Promise<Sharp> {
  const { default: sharp } = await import('sharp')
  // Each picture is decoded once, so a cache only costs memory. More threads need more buffers, and decode no faster here.
  sharp.cache(false)
  sharp.concurrency(1)
  return sharp
}

/** Refuses all but the known raster formats, because sharp would also render SVG and other formats. */
async function readType(path: string) {
  await using file = await open(path)
  const type = toMediaType(await readHead(file))
  if (!isRasterType(type)) throw new UnusableError(...REFUSALS[type])
  const { provenance, isComplete } = await readContainer(file, type)
  if (!isComplete) throw new UnusableError('the file is cut off', false)
  return { type, provenance }
}

async function readHead(file: FileHandle): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0)
  return buffer.subarray(0, bytesRead)
}

interface DecodeOptions {
  readonly path: string
  readonly type: RasterType
  readonly maxPixels: number
  readonly log: Log
}

async function decode(sharp: Sharp, options: DecodeOptions) {
  try {
    return await decodeUnchecked(sharp, options)
  } catch (error) {
    if (error instanceof UnusableError) throw error
    options.log.warn({ cause: error, contentType: options.type }, 'a picture could not be decoded')
    throw new UnusableError('the picture is damaged or cut off', false)
  }
}

/**
 * Decodes the whole picture, to find damage anywhere, and keeps only a thumbnail. sharp converts any colour space to sRGB
 * with alpha, 8 bits per channel.
 */
async function decodeUnchecked(sharp: Sharp, { path, type, maxPixels }: DecodeOptions) {
  // The header is read without a limit, because the error of sharp's own limit has no code.
  const header = await sharp(path, { limitInputPixels: false, sequentialRead: true }).metadata()
  checkPixels(header.width * header.height, maxPixels)
  const { data, info } = await sharp(path, {
    sequentialRead: true,
    limitInputPixels: maxPixels,
    // With `truncated`, a TIFF that is cut off can decode to black pixels without a failure.
    failOn: type === 'image/tiff' ? 'error' : 'truncated',
  })
    .timeout({ seconds: DECODE_TIMEOUT_S })
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

function checkPixels(pixels: number, maxPixels: number): void {
  if (pixels <= maxPixels) return
  const [found, allowed] = [pixels, maxPixels].map((each) => Math.ceil(each / 1e6))
  throw new UnusableError(`the picture has ${found} megapixels; ${allowed} are allowed`, true)
}
