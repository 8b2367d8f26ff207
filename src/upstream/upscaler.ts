import type { ClientRequest } from 'node:http'
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import got, { type Got, RequestError } from 'got'
import type { Connector, Outbound } from '../net/outbound.ts'
import { parseRetryAfter } from '../net/retry-after.ts'
import type { Clock, Log, Lookup, SubmitAnswer, SubmitRequest, Upscaler } from '../tasks/ports.ts'
import { toFailure } from '../tasks/failure.ts'
import { parseCredits, parseJson, parseLookup, parseSubmitAnswer } from './wire.ts'

export interface UpscalerOptions {
  /** Base of the vendor's paths; asked for at each request, since the embedded sandbox knows its own late. */
  readonly baseUrl: () => string
  readonly apiKey: string
  readonly connector: Connector
  /** How long the paid request may take altogether. */
  readonly timeoutMs: number
  readonly clock: Clock
  readonly log: Log
  /** Told how each question went: the operation, the answer's code (or `unreachable`, `lost`), and how long it took. */
  readonly onAnswer?: (operation: 'submit' | 'lookup' | 'credits', outcome: string, ms: number) => void
}

/** How long a proxy may take to open a tunnel to the upstream, in milliseconds. */
const MAX_TUNNEL_MS = 5_000
/** An envelope has a few hundred bytes; more than this is not one, and is not read to its end. */
const MAX_ANSWER_LENGTH = 1024 * 1024

/**
 * The Upscaler on one `got` instance that calls kie.ai (or another server with the same API). Disposing
 * cuts short what is still under way; a submit that is cut short counts as one whose answer was lost.
 */
export function createUpscaler(options: UpscalerOptions): Upscaler & Disposable {
  const { baseUrl, log, clock } = options
  const client = createClient(options.apiKey)
  const underWay = new Set<() => void>()
  let disposed = false
  const tunnelTimeoutMs = Math.min(options.timeoutMs, MAX_TUNNEL_MS)
  const polls = options.connector.open({ keepAlive: true, tunnelTimeoutMs })
  // The paid request never reuses an idle socket: a reset on one would be ambiguous; see `send`.
  const submits = options.connector.open({ tunnelTimeoutMs })
  const ask: typeof send = async (operation, ...rest) => {
    // The service is stopping: do not start paid work whose answer could not be stored.
    if (disposed) return { kind: 'unreachable', cause: 'cut short' }
    const startedAt = performance.now()
    const outcome = await send(operation, ...rest)
    const code = outcome.kind === 'answer' ? toCode(outcome.head.status, outcome.body) : outcome.kind
    options.onAnswer?.(operation, code, performance.now() - startedAt)
    return outcome
  }
  const submit: Upscaler['submit'] = async (request, correlationId) => {
    const outcome = await ask('submit', client, `${baseUrl()}/api/v1/mj/generateUpscale`, {
      method: 'POST',
      outbound: submits,
      body: JSON.stringify(toBody(request)),
      timeoutMs: options.timeoutMs,
      underWay,
    })
    const facts = { correlationId, sourceTaskId: request.sourceTaskId }
    if (outcome.kind === 'unreachable') {
      log.warn({ ...facts, cause: outcome.cause }, 'the upstream could not be reached; nothing was sent')
      const note = 'the upscale service could not be reached; nothing was sent'
      return { kind: 'refused', failure: toFailure('UPSTREAM_UNREACHABLE'), note }
    }
    const { status, retryAfter } = outcome.head
    const retryAfterMs = parseRetryAfter(retryAfter, clock.now())
    if (outcome.kind === 'lost') {
      log.warn({ ...facts, status, cause: outcome.cause }, 'the answer of the upstream was lost')
      // A status that proves that nothing ran needs no body.
      const answer = parseSubmitAnswer(status, undefined, retryAfterMs)
      if (answer.kind === 'refused') return answer
      const note = status === 0 ? 'lost: the connection failed or timed out' : `incomplete: HTTP ${status}`
      return { kind: 'unknown', note }
    }
    const { body } = outcome
    const answer = parseSubmitAnswer(status, body, retryAfterMs)
    if (answer.kind !== 'accepted') {
      // Cut last: half of a secret would not be found.
      const said = hide(toMessage(body), [options.apiKey, request.callBackUrl])?.slice(0, MAX_SAID_LENGTH)
      log.warn({ ...facts, status, said, answer }, 'the upstream did not accept')
    }
    return answer
  }
  const lookup: Upscaler['lookup'] = async (upstreamTaskId, { timeoutMs, correlationId }) => {
    const url = `${baseUrl()}/api/v1/mj/record-info?taskId=${encodeURIComponent(upstreamTaskId)}`
    const request = { method: 'GET' as const, outbound: polls, timeoutMs, underWay }
    const outcome = await ask('lookup', client, url, request)
    if (outcome.kind === 'answer') {
      const found = parseLookup(outcome.body)
      const dropped = 'dropped' in found ? found.dropped : undefined
      if (dropped) log.warn({ correlationId, upstreamTaskId, dropped }, 'result URLs were dropped')
      return found
    }
    log.warn({ correlationId, upstreamTaskId, cause: outcome.cause }, 'record-info gave no answer')
    return { kind: 'unavailable' }
  }
  const credits: Upscaler['credits'] = async ({ timeoutMs, correlationId }) => {
    const request = { method: 'GET' as const, outbound: polls, timeoutMs, underWay }
    const outcome = await ask('credits', client, `${baseUrl()}/api/v1/chat/credit`, request)
    if (outcome.kind === 'answer') return parseCredits(outcome.body)
    log.warn({ correlationId, cause: outcome.cause }, 'the credits could not be read')
    return null
  }
  // The port promises not to throw. A request that failed unexpectedly may have been sent.
  const guard = <T>(request: Promise<T>, instead: T, correlationId: string) =>
    request.catch((error: unknown) => {
      log.error({ err: error, correlationId }, 'an upstream request failed unexpectedly')
      return instead
    })
  const unreadable = { kind: 'unknown', note: 'lost: the gateway could not read it' } as const
  return {
    submit: (request, id) => guard<SubmitAnswer>(submit(request, id), unreadable, id),
    lookup: (id, limits) => guard<Lookup>(lookup(id, limits), { kind: 'unavailable' }, limits.correlationId),
    credits: (limits) => guard(credits(limits), null, limits.correlationId),

    [Symbol.dispose]() {
      disposed = true
      for (const end of underWay) end()
      polls[Symbol.dispose]()
      submits[Symbol.dispose]()
    },
  }
}

function createClient(apiKey: string): Got {
  return got.extend({
    headers: {
      authorization: `Bearer ${apiKey}`,
      'user-agent': 'upscale-gateway',
      accept: 'application/json',
    },
    retry: { limit: 0 },
    followRedirect: false,
    throwHttpErrors: false,
    decompress: true,
  })
}

function toBody({ sourceTaskId, imageIndex, waterMark, callBackUrl }: SubmitRequest) {
  return {
    taskId: sourceTaskId,
    imageIndex,
    ...(waterMark !== null && { waterMark }),
    ...(callBackUrl !== null && { callBackUrl }),
  }
}

/** What came before the body. Status 0: nothing came. */
interface Head {
  readonly status: number
  readonly retryAfter: string | undefined
}

type SendOutcome =
  | { kind: 'answer'; head: Head; body: unknown }
  /** No connection came about, so nothing can have been sent. */
  | { kind: 'unreachable'; cause: string }
  /** A connection was established, so the request may have arrived, but the answer is missing or incomplete. */
  | { kind: 'lost'; head: Head; cause: string }

interface SendOptions {
  readonly method: 'GET' | 'POST'
  readonly outbound: Outbound
  /** JSON. */
  readonly body?: string
  readonly timeoutMs: number
  /** What ends each request that is under way. */
  readonly underWay: Set<() => void>
}

/**
 * One request, one outcome; never throws. Whether anything can have been sent is derived from the
 * socket, not from error codes: bytes leave only once the connection (with TLS: the handshake) is established. Through a proxy
 * that is the connection to the proxy for http, and the TLS connection through its tunnel for https: a proxy that cannot be
 * reached, or refuses the tunnel, proves that nothing was sent.
 */
async function send(
  _operation: 'submit' | 'lookup' | 'credits',
  client: Got,
  url: string,
  { method, outbound, body, timeoutMs, underWay }: SendOptions,
): Promise<SendOutcome> {
  let connected = false
  const hasLeft = () => connected
  // As a stream: got's promise keeps more books than one small answer is worth, and would read an endless one to its end.
  const headers = body === undefined ? {} : { 'content-type': 'application/json' }
  const agent = outbound.agentsFor(url)
  const request = client.stream(url, { method, agent, body, headers, timeout: { request: timeoutMs } })
  const end = () => request.destroy(new Error('cut short'))
  // Not an AbortSignal: its listeners are a chain, on which every request that is over would hang until a full collection.
  underWay.add(end)
  request.once('request', (outgoing: ClientRequest) =>
    outgoing.once('socket', (socket: Socket) => {
      const ready = 'encrypted' in socket ? 'secureConnect' : 'connect'
      if (!socket.connecting) connected = true
      else socket.once(ready, () => (connected = true))
    }),
  )
  const toHead = (): Head => {
    const { statusCode = 0, headers: said } = request.response ?? {}
    return { status: statusCode, retryAfter: said?.['retry-after'] }
  }
  try {
    const text = await readText(request)
    return { kind: 'answer', head: toHead(), body: parseJson(text) }
  } catch (error) {
    const cause = toCause(error)
    return hasLeft() ? { kind: 'lost', head: toHead(), cause } : { kind: 'unreachable', cause }
  } finally {
    underWay.delete(end)
  }
}

/** All that is said, unless it is too much. */
function readText(answer: Readable): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    answer.setEncoding('utf8')
    answer.on('data', (chunk: string) => {
      text += chunk
      if (text.length > MAX_ANSWER_LENGTH) answer.destroy(new Error('The answer is too long'))
    })
    // A byte order mark is no part of what is said.
    answer.once('end', () => resolve(text.replace(/^\ufeff/, '')))
    answer.once('error', reject)
  })
}

/** The metric label of an answer: the three-digit code of its envelope, else its HTTP status, else `other`. */
function toCode(status: number, body: unknown): string {
  const code: unknown = typeof body === 'object' && body !== null && 'code' in body ? body.code : status
  const label = typeof code === 'number' || typeof code === 'string' ? String(code) : ''
  return /^\d{3}$/.test(label) ? label : 'other'
}

/** How much of the vendor's message is logged. */
const MAX_SAID_LENGTH = 500
/** A message is nested at most this deep: `error.message`, and room for one more. */
const MAX_MESSAGE_DEPTH = 3

/** The vendor's message, under any of its known keys, for the log only. */
function toMessage(body: unknown, depth = 0): string | undefined {
  if (typeof body !== 'object' || body === null || depth > MAX_MESSAGE_DEPTH) return undefined
  for (const key of ['msg', 'message', 'error'] as const) {
    const value: unknown = Reflect.get(body, key)
    if (typeof value === 'string') return value
    if (typeof value === 'object' && value !== null) return toMessage(value, depth + 1)
  }
  return undefined
}

/** A got error carries the whole request, key included: only its code and message go further. */
function toCause(error: unknown): string {
  return error instanceof RequestError ? `${error.code}: ${error.message}` : String(error)
}

/** The vendor may quote the request: our API key and the callback URL, which holds a token, must not be logged. */
function hide(text: string | undefined, secrets: readonly (string | null)[]): string | undefined {
  return secrets
    .flatMap((secret) => [secret ?? '', secret?.split('/').at(-1) ?? ''])
    .filter((part) => part !== '')
    .reduce((hidden, part) => hidden?.replaceAll(part, '[redacted]'), text)
    ?.replaceAll(/https?:\/\/\S+/g, '[url]')
}
