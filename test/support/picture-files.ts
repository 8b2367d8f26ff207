import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { createDeflate } from 'node:zlib'
import { crc32, deflateSync } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'

export const WIDTH = 120
export const HEIGHT = 80
const LEFT = [220, 60, 40] as const
const RIGHT = [40, 90, 200] as const
/** The mean of the two halves, each channel from 0 to 1. */
export const AVERAGE = { r: 130 / 255, g: 75 / 255, b: 120 / 255, a: 1 }

/** A picture whose left half is red, and whose right half is blue; with noise it takes more bytes. */
export function draw(alpha = 1, noise = 0): Sharp {
  const channels = alpha < 1 ? 4 : 3
  const pixels = Buffer.alloc(WIDTH * HEIGHT * channels, Math.round(alpha * 255))
  for (let at = 0; at < WIDTH * HEIGHT; at += 1) {
    const colour = at % WIDTH < WIDTH / 2 ? LEFT : RIGHT
    // A fixed sequence that looks random.
    for (const [channel, value] of colour.entries())
      pixels[at * channels + channel] = value + (noise && ((at * 7919 + channel * 31) % (2 * noise)) - noise)
  }
  return sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels } })
}

/** Two frames, of which the second is a mirror image. */
export async function drawFrames(): Promise<Sharp> {
  const frames = [await draw().png().toBuffer(), await draw().flop().png().toBuffer()]
  return sharp(frames, { join: { animated: true } })
}

export function toChunk(type: string, data: Buffer): Buffer {
  const chunk = Buffer.alloc(data.length + 12)
  chunk.writeUInt32BE(data.length, 0)
  chunk.write(type, 4, 'latin1')
  data.copy(chunk, 8)
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length)
  return chunk
}

const PNG_SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')

/** A PNG that is complete, and black: one bit for each pixel. */
export function toBlackPng(width: number, height: number): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header[8] = 1
  const rows = deflateSync(Buffer.alloc((Math.ceil(width / 8) + 1) * height), { level: 1 })
  return Buffer.concat([
    PNG_SIGNATURE,
    toChunk('IHDR', header),
    toChunk('IDAT', rows),
    toChunk('IEND', Buffer.alloc(0)),
  ])
}

/**
 * A small file that cannot be decoded row by row, and needs 8 bytes of memory for each pixel: a transparent,
 * interlaced PNG with 16 bits for each channel.
 */
export async function toInterlacedBomb(size: number): Promise<Buffer> {
  // The passes of Adam7: the first column and row, and the steps.
  const passes = [
    [0, 0, 8, 8],
    [4, 0, 8, 8],
    [0, 4, 4, 8],
    [2, 0, 4, 4],
    [0, 2, 2, 4],
    [1, 0, 2, 2],
    [0, 1, 1, 2],
  ] as const
  let left = 0
  for (const [x, y, stepX, stepY] of passes)
    left += (1 + 8 * Math.ceil((size - x) / stepX)) * Math.ceil((size - y) / stepY)
  const zeros = Buffer.alloc(1024 * 1024)
  const deflate = createDeflate({ level: 1 })
  const data = buffer(deflate)
  for (; left > 0; left -= zeros.length) {
    const part = zeros.subarray(0, Math.min(left, zeros.length))
    if (!deflate.write(part)) await once(deflate, 'drain')
  }
  deflate.end()
  const header = Buffer.alloc(13)
  header.writeUInt32BE(size, 0)
  header.writeUInt32BE(size, 4)
  header.set([16, 6, 0, 0, 1], 8)
  const chunks = [toChunk('IHDR', header), toChunk('IDAT', await data), toChunk('IEND', Buffer.alloc(0))]
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...chunks])
}

/** Inserts a chunk after the header of a PNG, or before its last chunk. */
export function withPngChunk(png: Buffer, chunk: Buffer, where: 'start' | 'end' = 'start'): Buffer {
  const at = where === 'start' ? 33 : png.length - 12
  return Buffer.concat([png.subarray(0, at), chunk, png.subarray(at)])
}

/**
 * An APP11 segment with a JUMBF superbox (ISO 19566-5) that has this label; its length has 64 bits if
 * `isLong`.
 */
export function toJumbfSegment(label: string, isLong = false): Buffer {
  const toBox = (type: string, data: Buffer) => {
    const head = Buffer.alloc(8)
    head.writeUInt32BE(data.length + 8, 0)
    head.write(type, 4, 'latin1')
    return Buffer.concat([head, data])
  }
  const uuid = Buffer.from('63327061001100108000' + '00aa00389b71', 'hex')
  const description = toBox('jumd', Buffer.concat([uuid, Buffer.from([3]), Buffer.from(`${label}\0`)]))
  const content = Buffer.concat([description, toBox('json', Buffer.from('{}'))])
  const box = toBox('jumb', isLong ? Buffer.concat([Buffer.alloc(8), content]) : content)
  if (isLong) {
    box.writeBigUInt64BE(BigInt(box.length), 8)
    box.writeUInt32BE(1, 0)
  }
  const head = Buffer.from([0xff, 0xeb, 0, 0, ...Buffer.from('JP'), 0, 1, 0, 0, 0, 1])
  head.writeUInt16BE(box.length + head.length - 2, 2)
  return Buffer.concat([head, box])
}

/** Inserts segments after the first segment of a JPEG. */
export function withJpegSegments(jpeg: Buffer, ...segments: readonly Buffer[]): Buffer {
  const at = 4 + jpeg.readUInt16BE(4)
  return Buffer.concat([jpeg.subarray(0, at), ...segments, jpeg.subarray(at)])
}

/** Appends a RIFF chunk to a WebP in the extended format. */
export function withWebpChunk(webp: Buffer, type: string, data: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.write(type, 0, 'latin1')
  head.writeUInt32LE(data.length, 4)
  const result = Buffer.concat([webp, head, data, Buffer.alloc(data.length % 2)])
  result.writeUInt32LE(result.length - 8, 4)
  return result
}

/** The header of a JPEG or GIF of this size, and no pixels. */
export function toBombHeader(type: 'jpeg' | 'gif', width: number, height: number): Buffer {
  if (type === 'gif') {
    const header = Buffer.from('GIF89a\0\0\0\0\x80\0\0\0\0\0\xff\xff\xff', 'latin1')
    const frame = Buffer.from(',\0\0\0\0\0\0\0\0\0\x02\x02\x44\x01\0;', 'latin1')
    for (const [buffer, at] of [
      [header, 6],
      [frame, 5],
    ] as const) {
      buffer.writeUInt16LE(width, at)
      buffer.writeUInt16LE(height, at + 2)
    }
    return Buffer.concat([header, frame])
  }
  const frame = Buffer.from([0xff, 0xc0, 0, 11, 8, 0, 0, 0, 0, 1, 1, 0x11, 0])
  frame.writeUInt16BE(height, 5)
  frame.writeUInt16BE(width, 7)
  const scan = Buffer.from([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0])
  return Buffer.concat([Buffer.from([0xff, 0xd8]), frame, scan, Buffer.alloc(64), Buffer.from([0xff, 0xd9])])
}
