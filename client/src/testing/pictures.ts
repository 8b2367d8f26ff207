import { toHex, toNumber } from './random.ts'

const SOURCE_SIZE = 256
const FACTOR = 4

/** The hue of each drawing, and its ThumbHash. A test computes them again. */
const DRAWINGS = [
  { hue: 20, thumbhash: 'JkoODwp3h4ePeIeEd3eHeId3iAYIh38E' },
  { hue: 80, thumbhash: 'pZkRHwZ3mHePh4eFd3eHh4eId/g4h48H' },
  { hue: 140, thumbhash: 'plcNJwR3iHePeHeEd3d3eId3aPdXmYEP' },
  { hue: 200, thumbhash: '5cURDwp3mHePd4eFd3eHh4eId/j3eHAL' },
  { hue: 260, thumbhash: 'JmYOHwZ3iIePiIeEd3eHd4iHeAjHeHAI' },
  { hue: 320, thumbhash: 'ZagSJwR3mIiPd4eFd3eHiIeIhwenh44A' },
] as const

interface PictureFacts {
  readonly url: string
  readonly width: number
  readonly height: number
  readonly byteSize: number
  readonly sha256: string
  readonly thumbhash: string
}

interface PictureRequest {
  readonly taskId: string
  readonly imageIndex: number
  readonly waterMark: string | null
}

/** One of the four pictures of a source task, as a `data:` URL. */
export function drawSource(taskId: string, imageIndex: number): PictureFacts {
  return draw({ taskId, imageIndex, waterMark: null }, SOURCE_SIZE)
}

/** The same as `drawSource`, four times as wide and high, with the watermark. */
export function drawUpscaled(picture: PictureRequest): PictureFacts {
  return draw(picture, SOURCE_SIZE * FACTOR)
}

function draw({ taskId, imageIndex, waterMark }: PictureRequest, size: number): PictureFacts {
  const drawing = DRAWINGS[(toNumber(taskId) + imageIndex) % DRAWINGS.length] ?? DRAWINGS[0]
  const svg = toSvg(drawing.hue, size, waterMark)
  return {
    url: `data:image/svg+xml,${encodeURIComponent(svg)}`,
    width: size,
    height: size,
    byteSize: new TextEncoder().encode(svg).length,
    // A made-up value of the right form.
    sha256: toHex(svg, 64),
    thumbhash: drawing.thumbhash,
  }
}

/** A landscape: a sky, a sun, two ridges. */
function toSvg(hue: number, size: number, waterMark: string | null): string {
  const mark =
    waterMark === null
      ? ''
      : `<text x="250" y="248" text-anchor="end" font-family="sans-serif" font-size="12" fill="white">${escapeXml(waterMark)}</text>`
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256" width="${size}" height="${size}"><rect width="256" height="256" fill="hsl(${hue},70%,75%)"/><circle cx="${60 + (hue % 140)}" cy="70" r="26" fill="hsl(${hue + 40},95%,90%)"/><path d="M0 256V170L70 110 130 180 190 130 256 190V256Z" fill="hsl(${hue + 30},45%,45%)"/><path d="M0 256V215L60 180 140 230 210 190 256 220V256Z" fill="hsl(${hue + 60},45%,28%)"/>${mark}</svg>`
}

function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
