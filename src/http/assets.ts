import { hash } from 'node:crypto'
import { promisify } from 'node:util'
import { brotliCompress, constants, createGunzip, gzip } from 'node:zlib'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { toQuality } from './media-type.ts'

/** A file for browsers. Only its compressed forms are kept. */
export interface Asset {
  readonly type: string
  /** Weak: the compressed forms share it. */
  readonly etag: string
  readonly byteSize: number
  readonly br: Uint8Array
  readonly gzip: Uint8Array
}

/** Compresses a file, in threads of the pool. `level`: 1 is the fastest, 9 makes the smallest. */
export async function compressAsset(bytes: Buffer, type: string, level: number): Promise<Asset> {
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: level,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  }
  const [br, gzipped] = await Promise.all([
    promisify(brotliCompress)(bytes, { params }),
    promisify(gzip)(bytes, { level }),
  ])
  const etag = `W/"${hash('sha256', bytes, 'base64url').slice(0, 27)}"`
  return { type, etag, byteSize: bytes.length, br, gzip: gzipped }
}

/**
 * Responds with a file: compressed as the client accepts it, or 304 if the client has it. A client that
 * accepts no compression gets the decompressed stream.
 */
export function sendAsset({ headers }: FastifyRequest, reply: FastifyReply, asset: Asset): FastifyReply {
  const vary = reply.getHeader('vary')
  reply.header('vary', vary === undefined ? 'Accept-Encoding' : `${String(vary)}, Accept-Encoding`)
  reply.header('etag', asset.etag)
  const known = headers['if-none-match']?.split(',').map((tag) => tag.trim().replace(/^W\//, '')) ?? []
  if (known.includes(asset.etag.slice(2)) || known.includes('*')) return reply.code(304).send()
  const encoding = toEncoding(headers['accept-encoding'])
  const bytes = encoding === 'identity' ? undefined : toView(asset[encoding])
  reply.type(asset.type).header('content-length', bytes?.length ?? asset.byteSize)
  if (encoding !== 'identity') reply.header('content-encoding', encoding)
  if (bytes) return reply.send(bytes)
  const plain = createGunzip()
  plain.end(asset.gzip)
  return reply.send(plain)
}

/** A Buffer of the same memory. */
const toView = ({ buffer, byteOffset, byteLength }: Uint8Array) => Buffer.from(buffer, byteOffset, byteLength)

/** The smallest form that an Accept-Encoding header allows. Without the header: no compression. */
function toEncoding(accepted = ''): 'br' | 'gzip' | 'identity' {
  return (['br', 'gzip'] as const).find((encoding) => toQuality(accepted, [encoding, '*']) > 0) ?? 'identity'
}
