import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { RENDITION_WIDTHS, toCopyKey } from '../results/copy-keys.ts'
import { checkComplete, type ByteRange, type CopyStore } from '../results/copy-store.ts'
import { isSignatureValid, toResultPath } from '../results/links.ts'
import { RENDITION_TYPE, type Renditions } from '../results/renditions.ts'
import type { Log } from '../tasks/ports.ts'
import { StoreUnavailableError } from '../tasks/store-port.ts'
import type { PictureFacts, UpscaleTask } from '../tasks/task.ts'
import type { Tasks } from '../tasks/tasks.ts'
import { logOutage, sendError } from './http-errors.ts'

interface ResultRoute {
  readonly tasks: Pick<Tasks, 'find'>
  readonly copies: CopyStore
  readonly renditions: Renditions
  /** Whether to redirect to the store, if the store has URLs of its own. */
  readonly redirects: boolean
  readonly log: Log
}

type ResultRequest = FastifyRequest<{
  Params: { taskId: string; position: string; signature: string }
  Querystring: { width?: string | string[]; download?: string | string[] }
}>

/** What a request selects: the copy, or a rendition of it. */
interface Representation {
  readonly key: string
  readonly byteSize: number
  readonly contentType: string
  /** Equal tags mean equal bytes. */
  readonly etag: string
  readonly fileName: string
}

/** How long a presigned URL is valid, in seconds. A client may take some time to follow the redirect. */
const PRESIGNED_FOR_S = 300
/** Shorter than that, so that a cached redirect leads to a URL that is still valid. */
const REDIRECT_CACHE_S = 60
const EXTENSIONS: Record<string, string> = { 'image/jpeg': 'jpg' }

/**
 * The route of copies and renditions. 200, 206 or 304: the picture. 302: a URL of the store. 400: an unknown
 * width. 404: no such picture, or a wrong signature. 416: a range outside of the file. 503: the store cannot
 * be read.
 */
export function addResultRoute(app: FastifyInstance, route: ResultRoute): void {
  void app.register((results, _options, done) => {
    results.setErrorHandler((error: { statusCode?: number; message: string }, request, reply) => {
      if (error.statusCode !== undefined && error.statusCode < 500)
        return refuse(reply, error.statusCode, error.message)
      if (error instanceof StoreUnavailableError) logOutage(error, request.id, route.log)
      else route.log.error({ err: error, correlationId: request.id }, 'a copy could not be read')
      return refuse(reply, 503, 'The picture cannot be read at the moment: retry.')
    })
    // The signature authorizes the request, so any page may use the link without credentials.
    results.addHook('onRequest', (_request, reply, next) => {
      reply.header('access-control-allow-origin', '*').removeHeader('vary')
      reply.header(
        'access-control-expose-headers',
        'ETag, Content-Length, Content-Range, Content-Disposition',
      )
      // A browser that ignores the content type must not run scripts of the file either.
      reply.header('content-security-policy', "default-src 'none'; sandbox")
      next()
    })
    const url = toResultPath(':taskId', ':position', ':signature')
    // A preflight: for requests with `If-None-Match`, for example.
    results.options(url, (_request, reply) => {
      reply.header('access-control-allow-methods', 'GET, HEAD')
      reply.header('access-control-allow-headers', 'Range, If-Range, If-None-Match')
      return reply.header('access-control-max-age', '86400').code(204).send()
    })
    results.route({
      // `send` answers HEAD without reading the file.
      method: ['GET', 'HEAD'],
      url,
      handler: (request: ResultRequest, reply) => serve(route, request, reply),
    })
    done()
  })
}

async function serve(route: ResultRoute, request: ResultRequest, reply: FastifyReply): Promise<FastifyReply> {
  const found = await findCopy(route, request)
  if (found === undefined) return refuse(reply, 404, 'There is no such picture.')
  const width = parseWidth(request.query.width)
  if (width === undefined) return refuse(reply, 400, `width must be one of ${RENDITION_WIDTHS.join(', ')}.`)
  const selected = await findRepresentation(route, found.task, found.facts, width)
  if (selected && (await respond(route, selected, request, reply))) return reply
  // The copy was deleted meanwhile (404), or the store has lost it (503).
  if (await findCopy(route, request)) throw new Error('The store has lost the file of a copy')
  return refuse(reply, 404, 'There is no such picture.')
}

/** Errors are not cached: pictures are, for ever. */
function refuse(reply: FastifyReply, status: number, message: string): FastifyReply {
  return sendError(reply.header('cache-control', 'no-store'), status, message)
}

/**
 * The task and the facts of the copy that a link names. Undefined: there is no such copy, or the link is
 * wrong.
 */
async function findCopy({ tasks }: ResultRoute, { params }: ResultRequest) {
  const { taskId, signature } = params
  const position = /^(?:0|[1-9]\d?)$/.test(params.position) ? Number(params.position) : -1
  const task = await tasks.find(taskId)
  const facts = task && isSignatureValid(task, position, signature) ? findKept(task, position) : undefined
  return task && facts && { task, facts }
}

function findKept({ images }: UpscaleTask, position: number): PictureFacts | undefined {
  const image = images?.[position]
  return image?.copyState === 'KEPT' ? (image.facts ?? undefined) : undefined
}

/** Null: the original. Undefined: not one of the widths. */
function parseWidth(width: string | string[] | undefined): number | null | undefined {
  return width === undefined ? null : RENDITION_WIDTHS.find((each) => String(each) === width)
}

async function findRepresentation(
  { renditions }: ResultRoute,
  task: UpscaleTask,
  { sha256, contentType, byteSize }: PictureFacts,
  width: number | null,
): Promise<Representation | undefined> {
  const name = `upscale-${task.sourceTaskId.replaceAll(/[^\w-]+/g, '_').slice(0, 80)}-${task.imageIndex}`
  if (width === null) {
    const extension = EXTENSIONS[contentType] ?? contentType.replace('image/', '')
    const fileName = `${name}.${extension}`
    return { key: toCopyKey(sha256), byteSize, contentType, etag: `"${sha256}"`, fileName }
  }
  const rendition = await renditions.ensure(sha256, width)
  const etag = `"${sha256}-${width}"`
  return rendition && { ...rendition, contentType: RENDITION_TYPE, etag, fileName: `${name}-${width}.webp` }
}

/** Redirects or streams. False: the store does not have the file. */
async function respond(
  { copies, redirects }: ResultRoute,
  selected: Representation,
  request: ResultRequest,
  reply: FastifyReply,
): Promise<boolean> {
  const isDownload = request.query.download !== undefined
  const disposition = isDownload ? `attachment; filename="${selected.fileName}"` : null
  // A presigned URL is for one method.
  if (redirects && request.method === 'GET') {
    const options = { contentType: selected.contentType, contentDisposition: disposition }
    const url = await copies.presign(selected.key, { ...options, expiresInS: PRESIGNED_FOR_S })
    if (url !== undefined) {
      reply.header('cache-control', `private, max-age=${REDIRECT_CACHE_S}`).redirect(url, 302)
      return true
    }
  }
  return send(copies, { ...selected, disposition }, request, reply)
}

/** With the `Content-Disposition` of the response; null: none. */
type Sent = Representation & { readonly disposition: string | null }

/**
 * Streams a file or the requested range of it (RFC 9110 §14), unless the client already has it. False: the
 * store does not have the file.
 */
async function send(
  copies: CopyStore,
  { key, byteSize, contentType, etag, disposition }: Sent,
  { headers, method }: ResultRequest,
  reply: FastifyReply,
): Promise<boolean> {
  const lasting = { etag, 'cache-control': 'public, max-age=31536000, immutable', 'accept-ranges': 'bytes' }
  const known = headers['if-none-match']?.split(',').map((tag) => tag.trim().replace(/^W\//, '')) ?? []
  if (known.includes(etag) || known.includes('*')) {
    reply.code(304).headers(lasting).send()
    return true
  }
  // A range is for GET only.
  const isRanged = method === 'GET' && (headers['if-range'] ?? etag) === etag
  const range = isRanged ? toRange(headers.range, byteSize) : undefined
  if (range === 'unsatisfiable') {
    reply.header('content-range', `bytes */${byteSize}`)
    refuse(reply, 416, 'The range is outside of the file.')
    return true
  }
  const file = method === 'HEAD' ? null : await copies.read(key, range)
  if (file === undefined) return false
  if (file !== null) checkComplete(file, byteSize)
  const { start, end } = range ?? { start: 0, end: byteSize - 1 }
  reply
    .headers(lasting)
    .type(contentType)
    .header('content-length', end - start + 1)
  if (disposition !== null) reply.header('content-disposition', disposition)
  if (range) reply.code(206).header('content-range', `bytes ${start}-${end}/${byteSize}`)
  reply.send(file?.body)
  return true
}

/** Undefined: the whole file, also if the header has several ranges or is invalid. */
function toRange(header = '', size: number): ByteRange | 'unsatisfiable' | undefined {
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/i.exec(header.replaceAll(/\s/g, '')) ?? []
  if (from === '' && to === '') return undefined
  if (from !== '' && to !== '' && Number(to) < Number(from)) return undefined
  // Without a start, `to` is the length of a suffix.
  const start = from === '' ? Math.max(0, size - Number(to)) : Number(from)
  const end = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1)
  return start < size ? { start, end } : 'unsatisfiable'
}
