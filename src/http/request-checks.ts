import { isUtf8 } from 'node:buffer'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify'
import helmet from 'helmet'
import { isHostAllowed, isHostValid, isOriginAllowed, type AccessPolicy } from './access.ts'
import { sendError } from './http-errors.ts'

/** Adds security headers, and refuses requests by their Host, and bodies that cannot be decoded. */
export function checkRequests(app: FastifyInstance, access: AccessPolicy): void {
  const securityHeaders = toSecurityHeaders()
  app.addHook('onRequest', ({ headers, raw }, reply, next) => {
    reply.headers(securityHeaders)
    // The browser enforces the result; this logs a refusal.
    if (headers.origin !== undefined) isOriginAllowed(access, raw)
    next()
  })
  app.addHook('onRequest', checkHost(access))
  app.addHook('preParsing', (request, reply, _payload, next) => {
    const fault = findEncodingFault(request)
    if (fault === undefined) next()
    else void sendError(reply, 415, fault)
  })
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    // Invalid bytes would all become U+FFFD, and different texts equal.
    if (isUtf8(body)) void parseJson(request, body.toString(), done)
    else done(Object.assign(new Error('The body is not valid UTF-8.'), { statusCode: 400 }))
  })
}

/** Refuses a missing, invalid or foreign Host: later code builds URLs from it. */
function checkHost(access: AccessPolicy): onRequestHookHandler {
  let accepted: string | undefined
  return (request, reply, next) => {
    const { host } = request.headers
    // RFC 9112 §3.2: a proxy may use another of these headers than we do.
    if ((request.raw.headersDistinct.host?.length ?? 0) > 1)
      return void sendError(reply, 400, 'There is more than one Host header.')
    // Hot path: most requests have the same host as the previous one.
    if ((host !== undefined && host === accepted) || isHostOptional(request)) {
      next()
      return
    }
    if (!isHostValid(host)) return void sendError(reply, 400, 'The Host header is missing or not valid.')
    if (!isHostAllowed(access, host)) return void sendError(reply, 403, 'This host is not served here.')
    accepted = host
    next()
  }
}

/** Load balancers check health over HTTP/1.0 without a Host, or with an empty one. */
function isHostOptional({ headers: { host }, raw, routeOptions }: FastifyRequest): boolean {
  const isAbsent = host === '' || (host === undefined && raw.httpVersion === '1.0')
  return isAbsent && routeOptions.config.hostOptional === true
}

/** Bodies are decoded as UTF-8, which includes ASCII. */
const CHARSETS = ['utf-8', 'utf8', 'us-ascii', 'ascii']
const CHARSET_PARAMETERS = /;\s*charset\*?\s*=\s*(?:"([^"]*)"|([^;\s]*))/gi

/** Why the body of a request cannot be decoded; undefined: it can. */
function findEncodingFault({ method, headers }: FastifyRequest): string | undefined {
  if (method === 'GET' || method === 'HEAD') return undefined
  const { 'content-encoding': encoding = '', 'content-type': type = '' } = headers
  const { 'transfer-encoding': transfer = 'chunked' } = headers
  if (!/^(identity)?$/i.test(encoding.trim()) || !/^chunked$/i.test(transfer.trim()))
    return 'Compressed bodies are not supported: send the body without Content-Encoding, and no Transfer-Encoding but chunked.'
  // All are checked, because parsers differ in which of two `charset` parameters they use.
  for (const [, quoted, token = ''] of type.matchAll(CHARSET_PARAMETERS))
    if (!CHARSETS.includes((quoted ?? token).toLowerCase()))
      return 'The charset of the body is not supported: send it as UTF-8.'
  return undefined
}

/**
 * The headers that helmet sets. They are the same for all responses; as middleware, helmet takes 40 µs for
 * each.
 */
function toSecurityHeaders(): Record<string, string> {
  const probe = new ServerResponse(new IncomingMessage(new Socket()))
  const directives = { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] }
  helmet({
    contentSecurityPolicy: { useDefaults: false, directives },
    // Pages of other origins may show the sandbox's pictures.
    crossOriginResourcePolicy: { policy: 'cross-origin' },
  })(probe.req, probe, () => undefined)
  return Object.fromEntries(Object.entries(probe.getHeaders()).map(([name, value]) => [name, String(value)]))
}
