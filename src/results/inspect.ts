import { open, type FileHandle } from 'node:fs/promises'
import type { PictureFacts } from '../tasks/task.ts'
import type { Decoder } from './decode.ts'
import { HEAD_BYTES, isRasterType, toMediaType, type MediaType, type RasterType } from './media-types.ts'
import { readContainer } from './provenance.ts'
import { UnusableError } from './unusable-error.ts'

/** The facts that need the picture to be decoded. */
type InspectedFacts = Omit<PictureFacts, 'byteSize' | 'sha256'>

/**
 * Measures the picture in a file. Throws UnusableError if it is not a raster picture, too large or damaged.
 */
type Inspect = (path: string, signal: AbortSignal) => Promise<InspectedFacts>

/**
 * The reason why a type cannot be used, and whether it is permanent: HTML and text may be an error message of
 * the server.
 */
const REFUSALS: Readonly<Record<Exclude<MediaType, RasterType>, readonly [string, boolean]>> = {
  svg: ['the file is an SVG drawing, not a raster picture', true],
  html: ['the file is an HTML page, not a picture', false],
  text: ['the file is text, not a picture', false],
  other: ['the file is not a PNG, JPEG, WebP, AVIF, GIF or TIFF picture', true],
}

export function createInspect(decoder: Decoder, maxPixels: number): Inspect {
  return async (path, signal) => {
    const { type, provenance } = await readType(path)
    // A TIFF that is cut off can give black pixels and no other sign than an error.
    const failOn = type === 'image/tiff' ? 'error' : 'truncated'
    const { width, height, thumbhash } = await decoder.measure(path, { failOn, maxPixels, signal })
    return { width, height, thumbhash, contentType: type, provenance }
  }
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
