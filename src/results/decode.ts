/** The work of the decoder process. Only that process imports this file: decoders are large, and may crash. */
import { stat } from 'node:fs/promises'
import sharp from 'sharp'
import { rgbaToThumbHash } from 'thumbhash'
import type { PictureFacts } from '../tasks/task.ts'

interface Picture {
  readonly path: string
  readonly maxPixels: number
}

export interface MeasureOrder extends Picture {
  readonly kind: 'measure'
  /** How bad a fault must be to count: see `failOn` of sharp. */
  readonly failOn: 'truncated' | 'error'
}

export interface ShrinkOrder extends Picture {
  readonly kind: 'shrink'
  /** Where to write the smaller version, a WebP. */
  readonly to: string
  readonly width: number
}

/** An order of the service to the decoder process. */
export type Order = MeasureOrder | ShrinkOrder

export type Measured = Pick<PictureFacts, 'width' | 'height' | 'thumbhash'>

/** tooLarge: the picture has more pixels than allowed. failed: it could not be decoded; `cause` is for the log. */
export type Reply =
  | ({ readonly kind: 'measured' } & Measured)
  | { readonly kind: 'shrunk'; readonly byteSize: number }
  | { readonly kind: 'tooLarge'; readonly pixels: number }
  | { readonly kind: 'failed'; readonly cause: string }

/** The limit of thumbhash. */
const THUMBNAIL_PIXELS = 100
/** A picture of 100 megapixels takes about 2 s. */
const TIMEOUT_S = 30

/** Decodes one picture. Does not reject. */
export async function decode(order: Order): Promise<Reply> {
  try {
    // The header is read without a limit, because the error of sharp's own limit has no code.
    const header = await sharp(order.path, { limitInputPixels: false, sequentialRead: true }).metadata()
    const pixels = header.width * header.height
    if (pixels > order.maxPixels) return { kind: 'tooLarge', pixels }
    if (order.kind === 'shrink') return await shrink(order)
    const { width, height } = header.autoOrient
    return { kind: 'measured', width, height, thumbhash: await toThumbhash(order) }
  } catch (error) {
    return { kind: 'failed', cause: String(error) }
  }
}

/**
 * Decodes the whole picture, so that damage anywhere is found, and keeps only a thumbnail: sRGB with alpha, 8 bits each, which
 * is what sharp makes of any colour space.
 */
async function toThumbhash({ path, maxPixels, failOn }: MeasureOrder): Promise<string> {
  const { data, info } = await sharp(path, { sequentialRead: true, limitInputPixels: maxPixels, failOn })
    .timeout({ seconds: TIMEOUT_S })
    .autoOrient()
    .resize(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS, { fit: 'inside', withoutEnlargement: true })
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  return Buffer.from(rgbaToThumbHash(info.width, info.height, data)).toString('base64')
}

async function shrink({ path, maxPixels, to, width }: ShrinkOrder): Promise<Reply> {
  await sharp(path, { sequentialRead: true, limitInputPixels: maxPixels })
    .timeout({ seconds: TIMEOUT_S })
    .autoOrient()
    .resize({ width, withoutEnlargement: true })
    .webp()
    .toFile(to)
  return { kind: 'shrunk', byteSize: (await stat(to)).size }
}
