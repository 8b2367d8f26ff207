/**
 * Serves pictures of noise, as a process of its own: `/10/NAME.png` is a PNG of 10 MiB, `/10/NAME.jpg` a
 * progressive JPEG of about 10 MiB; each name has different bytes. Sends its URL to its parent.
 */
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import sharp, { type Sharp } from 'sharp'
import { toChunk } from '../test/support/picture-files.ts'

const MIB = 1024 * 1024
interface Format {
  /** Pixels of noise per byte of the file. */
  readonly pixelsPerByte: number
  encode(picture: Sharp): Sharp
  /** What comes before a comment. */
  readonly headBytes: number
  toComment(text: string): Buffer
}

const FORMATS: Readonly<Record<string, Format>> = {
  png: {
    pixelsPerByte: 1 / 3,
    encode: (picture) => picture.png({ compressionLevel: 1 }),
    headBytes: 33,
    toComment: (text) => toChunk('tEXt', Buffer.from(`Comment\0${text}`)),
  },
  jpg: {
    pixelsPerByte: 1.63,
    encode: (picture) => picture.jpeg({ progressive: true }),
    headBytes: 2,
    toComment: (text) => Buffer.concat([Buffer.from([0xff, 0xfe, 0, text.length + 2]), Buffer.from(text)]),
  },
}

function drawNoise({ pixelsPerByte, encode }: Format, bytes: number): Promise<Buffer> {
  const side = Math.floor(Math.sqrt(bytes * pixelsPerByte))
  const pixels = randomFillSync(Buffer.alloc(side * side * 3))
  return encode(sharp(pixels, { raw: { width: side, height: side, channels: 3 } })).toBuffer()
}

const pictures = new Map<string, Promise<Buffer>>()
const server = createServer((request, response) => {
  const [, mib = '', name = '', type = ''] = (request.url ?? '').split(/[/.]/)
  const format = FORMATS[type]
  if (format === undefined) {
    response.writeHead(404).end()
    return
  }
  const drawn = pictures.get(mib + type) ?? drawNoise(format, Number(mib) * MIB)
  pictures.set(mib + type, drawn)
  void drawn.then((picture) => {
    const comment = format.toComment(name)
    response.writeHead(200, { 'content-length': picture.length + comment.length })
    response.write(picture.subarray(0, format.headBytes))
    response.write(comment)
    response.end(picture.subarray(format.headBytes))
  })
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
process.on('disconnect', () => process.exit())
process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
