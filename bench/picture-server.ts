/**
 * Serves pictures of noise, as a process of its own: `/10/NAME.png` is a PNG of 10 MiB, and different bytes for each name.
 * Sends its URL to its parent.
 */
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import sharp from 'sharp'
import { toChunk } from '../test/support/picture-files.ts'

const MIB = 1024 * 1024
/** The signature and the header. */
const HEAD_BYTES = 33

async function drawNoise(bytes: number): Promise<Buffer> {
  const side = Math.floor(Math.sqrt(bytes / 3))
  const pixels = randomFillSync(Buffer.alloc(side * side * 3))
  // Noise cannot be compressed.
  return sharp(pixels, { raw: { width: side, height: side, channels: 3 } })
    .png({ compressionLevel: 1 })
    .toBuffer()
}

const pictures = new Map<string, Promise<Buffer>>()
const server = createServer((request, response) => {
  const [, mib = '', name = ''] = (request.url ?? '').split('/')
  const drawn = pictures.get(mib) ?? drawNoise(Number(mib) * MIB)
  pictures.set(mib, drawn)
  void drawn.then((picture) => {
    const comment = toChunk('tEXt', Buffer.from(`Comment\0${name}`))
    const length = picture.length + comment.length
    response.writeHead(200, { 'content-type': 'image/png', 'content-length': length })
    response.write(picture.subarray(0, HEAD_BYTES))
    response.write(comment)
    response.end(picture.subarray(HEAD_BYTES))
  })
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
process.on('disconnect', () => process.exit())
process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
