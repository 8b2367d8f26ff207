import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp, { type Sharp } from 'sharp'
import { StartError, toOneLine } from '../start-error.ts'

/** Edge of a source picture in pixels; pictures from a folder are fitted into it. */
const SOURCE_SIZE = 256
/** An upscale multiplies the edges by this. */
const FACTOR = 4

/**
 * The sandbox's pictures, as PNG. Each request draws them again, so their URLs stay valid after a restart.
 */
export interface Pictures {
  /** One of the four pictures of a source task. */
  source(sourceTaskId: string, imageIndex: number): Promise<Buffer>
  /** The four pictures of a source task in one, two by two. */
  grid(sourceTaskId: string): Promise<Buffer>
  /** The same as `source`, four times as wide and high, with the watermark. */
  upscaled(sourceTaskId: string, imageIndex: number, waterMark: string | null): Promise<Buffer>
}

/**
 * The source task id determines each picture, which is drawn, or chosen from the image files of the folder.
 */
export async function readPictures(folder: string | null): Promise<Pictures> {
  const files = folder === null ? [] : await listImages(folder)
  const open = (sourceTaskId: string, imageIndex: number): Sharp => {
    const seed = createHash('sha256').update(`${sourceTaskId}/${imageIndex}`).digest()
    const first = createHash('sha256').update(sourceTaskId).digest().readUInt32BE()
    const file = files[(first + imageIndex) % files.length]
    return file === undefined
      ? sharp(Buffer.from(draw(seed)))
      : sharp(file).rotate().resize(SOURCE_SIZE, SOURCE_SIZE, { fit: 'inside' })
  }
  return {
    source: (sourceTaskId, imageIndex) => open(sourceTaskId, imageIndex).png().toBuffer(),
    async grid(sourceTaskId) {
      const tiles = await Promise.all(
        [0, 1, 2, 3].map(async (index) => ({
          input: await open(sourceTaskId, index).png().toBuffer(),
          left: (index % 2) * SOURCE_SIZE,
          top: Math.floor(index / 2) * SOURCE_SIZE,
        })),
      )
      const size = { width: 2 * SOURCE_SIZE, height: 2 * SOURCE_SIZE }
      return sharp({ create: { ...size, channels: 3, background: 'black' } })
        .composite(tiles)
        .png()
        .toBuffer()
    },
    async upscaled(sourceTaskId, imageIndex, waterMark) {
      const source = await open(sourceTaskId, imageIndex).png().toBuffer()
      const { width, height } = await sharp(source).metadata()
      const large = sharp(source).resize(width * FACTOR, height * FACTOR, { kernel: 'lanczos3' })
      if (waterMark === null) return large.png().toBuffer()
      const mark = Buffer.from(drawMark(waterMark, width * FACTOR, height * FACTOR))
      return large
        .composite([{ input: mark, gravity: 'southeast' }])
        .png()
        .toBuffer()
    },
  }
}

async function listImages(folder: string): Promise<string[]> {
  const remedy = 'name a folder of pictures, or unset it: the sandbox then draws pictures'
  const names = await readdir(folder).catch((error: unknown) => {
    const reason = toOneLine(error)
    throw new StartError(`SANDBOX_IMAGES: cannot read the folder ${folder}: ${reason}; ${remedy}`, {
      cause: error,
    })
  })
  const files = names.filter((name) => /\.(png|jpe?g|webp|avif|gif|tiff?)$/i.test(name))
  if (files.length === 0)
    throw new StartError(
      `SANDBOX_IMAGES: the folder ${folder} holds no picture (png, jpeg, webp, avif, gif, tiff); ${remedy}`,
    )
  return files.sort().map((name) => join(folder, name))
}

/** A landscape from 32 random bytes: a sky, a sun, three ridges. */
function draw(seed: Buffer): string {
  const byte = (index: number) => seed[index] ?? 0
  const hue = (byte(0) * 360) / 256
  const ridge = (layer: number) => {
    const base = 130 + layer * 35
    const peaks = Array.from({ length: 9 }, (_, x) => `${x * 32},${base - (byte(4 + layer * 9 + x) % 60)}`)
    return `<polygon points="0,256 ${peaks.join(' ')} 256,256" fill="hsl(${hue + 30 * layer} 45% ${42 - 12 * layer}%)"/>`
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${SOURCE_SIZE}" height="${SOURCE_SIZE}">
    <linearGradient id="sky" x2="0" y2="1">
      <stop stop-color="hsl(${hue + 200} 60% 35%)"/><stop offset="1" stop-color="hsl(${hue + 330} 80% 80%)"/>
    </linearGradient>
    <rect width="256" height="256" fill="url(#sky)"/>
    <circle cx="${40 + (byte(1) % 176)}" cy="${40 + (byte(2) % 60)}" r="${14 + (byte(3) % 20)}" fill="hsl(${hue + 40} 95% 88%)"/>
    ${[0, 1, 2].map(ridge).join('')}
  </svg>`
}

/** A bar with the watermark, for the lower edge of a picture of this size. */
function drawMark(text: string, width: number, pictureHeight: number): string {
  const height = Math.min(pictureHeight, Math.max(16, Math.round(width / 16)))
  const printable = text.toWellFormed().replace(/[\p{C}\ufffe\uffff]/gu, ' ')
  const shown = printable
    .slice(0, 48)
    .toWellFormed()
    .replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <rect width="100%" height="100%" fill="black" fill-opacity="0.45"/>
    <text x="98%" y="70%" text-anchor="end" font-family="sans-serif" font-size="${Math.round(height * 0.6)}" fill="white">${shown}</text>
  </svg>`
}
