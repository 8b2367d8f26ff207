import type { FastifyRequest } from 'fastify'

/** Bodies are decoded as UTF-8, of which ASCII is a part. */
const CHARSETS = ['utf-8', 'utf8', 'us-ascii', 'ascii']
const CHARSET_PARAMETERS = /;\s*charset\*?\s*=\s*(?:"([^"]*)"|([^;\s]*))/gi

/** Why the body of a request cannot be decoded reliably; undefined: it can. */
export function findEncodingFault({ method, headers }: FastifyRequest): string | undefined {
  if (method === 'GET' || method === 'HEAD') return undefined
  const { 'content-encoding': encoding = '', 'content-type': type = '' } = headers
  if (!/^(identity)?$/i.test(encoding.trim()))
    return 'Compressed bodies are not supported: send the body without Content-Encoding.'
  // Every charset is checked, because parsers differ in which of two `charset` parameters they use.
  for (const [, quoted, token = ''] of type.matchAll(CHARSET_PARAMETERS))
    if (!CHARSETS.includes((quoted ?? token).toLowerCase()))
      return 'The charset of the body is not supported: send it as UTF-8.'
  return undefined
}
