import type { Connector, Outbound } from '../net/outbound.ts'
import { parseRetryAfter } from '../net/retry-after.ts'
import { toFailure } from '../tasks/failure.ts'
import type {
  Clock,
  Log,
  PollAnswer,
  ReadOptions,
  SubmitAnswer,
  SubmitRequest,
  Upscaler,
} from '../tasks/ports.ts'
import { UpstreamClient, type Outcome, type UpstreamRequest } from './http.ts'
import { redact } from './redact.ts'
import { parseSubmitAnswer } from './submit-answer.ts'
import { parseCredits, parsePollAnswer } from './wire.ts'

interface UpscalerOptions {
  /**
   * The base of the upstream's paths. Called for each request, because the URL of the embedded sandbox is known only
   * once it listens.
   */
  readonly baseUrl: () => string
  readonly apiKey: string
  readonly connector: Connector
  /** How long the paid request may take. */
  readonly timeoutMs: number
  readonly clock: Clock
  readonly log: Log
  /** Called after each request: the operation, the answer's code (or `unreachable`, `lost`), and the duration. */
  readonly onAnswer?: (operation: Operation, outcome: string, ms: number) => void
}

type Operation = 'submit' | 'lookup' | 'credits'

const PATHS = {
  submit: '/api/v1/mj/generateUpscale',
  lookup: '/api/v1/mj/record-info',
  credits: '/api/v1/chat/credit',
} as const satisfies Record<Operation, string>

/** How long a proxy may take to open a tunnel to the upstream, in milliseconds. */
const MAX_TUNNEL_MS = 5_000
/** How much of the upstream's message is logged. */
const MAX_SAID_LENGTH = 500
/** The maximum nesting of a message: `error.message`, and one level more. */
const MAX_MESSAGE_DEPTH = 3

/**
 * Opens the Upscaler for kie.ai, or another server with the same API. Disposing aborts running requests; the answer of
 * an aborted submit counts as lost.
 */
export function openUpscaler(options: UpscalerOptions): Upscaler & Disposable {
  return new HttpUpscaler(options)
}

class HttpUpscaler implements Upscaler, Disposable {
  readonly #options: UpscalerOptions
  readonly #client: UpstreamClient
  readonly #polls: Outbound
  /**
   * The paid request never reuses an idle socket: after a reset of a reused socket, it is unknown whether the request
   * arrived.
   */
  readonly #submits: Outbound
  #disposed = false

  constructor(options: UpscalerOptions) {
    const { apiKey, connector, timeoutMs } = options
    const tunnelTimeoutMs = Math.min(timeoutMs, MAX_TUNNEL_MS)
    this.#options = options
    this.#client = new UpstreamClient(apiKey)
    this.#polls = connector.open({ keepAlive: true, tunnelTimeoutMs })
    this.#submits = connector.open({ tunnelTimeoutMs })
  }

  [Symbol.dispose](): void {
    this.#disposed = true
    for (const each of [this.#client, this.#polls, this.#submits]) each[Symbol.dispose]()
  }

  async submit(request: SubmitRequest, correlationId: string): Promise<SubmitAnswer> {
    const { timeoutMs, clock, log } = this.#options
    const body = JSON.stringify(toBody(request))
    const post = { method: 'POST', outbound: this.#submits, body, timeoutMs } as const
    const outcome = await this.#send('submit', correlationId, post)
    const facts = { correlationId, sourceTaskId: request.sourceTaskId }
    if (outcome.kind === 'unreachable') {
      log.warn({ ...facts, cause: outcome.cause }, 'the upstream could not be reached; nothing was sent')
      const note = 'the upscale service could not be reached; nothing was sent'
      return { kind: 'refused', failure: toFailure('UPSTREAM_UNREACHABLE'), note }
    }
    const { status, retryAfter } = outcome.head
    const retryAfterMs = parseRetryAfter(retryAfter, clock.now())
    if (outcome.kind === 'lost') {
      log.warn({ ...facts, status, cause: outcome.cause }, "the upstream's answer was lost")
      // A status that proves that nothing ran needs no body.
      const answer = parseSubmitAnswer(status, undefined, retryAfterMs)
      if (answer.kind === 'refused') return answer
      const note = status === 0 ? 'lost: the connection failed or timed out' : `incomplete: HTTP ${status}`
      return { kind: 'unknown', note }
    }
    const answer = parseSubmitAnswer(status, outcome.body, retryAfterMs)
    if (answer.kind !== 'accepted') {
      const said = this.#toSaid(outcome.body, request.callBackUrl)
      log.warn({ ...facts, status, said, answer }, 'the upstream did not accept the task')
    }
    return answer
  }

  async poll(upstreamTaskId: string, { timeoutMs, correlationId }: ReadOptions): Promise<PollAnswer> {
    const { log } = this.#options
    const query = `?taskId=${encodeURIComponent(upstreamTaskId)}`
    const get = { method: 'GET', outbound: this.#polls, timeoutMs } as const
    const outcome = await this.#send('lookup', correlationId, get, query)
    if (outcome.kind !== 'answer') {
      log.warn({ correlationId, upstreamTaskId, cause: outcome.cause }, 'a poll got no answer')
      return { kind: 'unavailable' }
    }
    const answer = parsePollAnswer(outcome.body)
    if ('dropped' in answer) {
      const { dropped } = answer
      log.warn({ correlationId, upstreamTaskId, dropped }, 'result URLs were dropped')
    }
    return answer
  }

  async credits({ timeoutMs, correlationId }: ReadOptions): Promise<number | null> {
    const get = { method: 'GET', outbound: this.#polls, timeoutMs } as const
    const outcome = await this.#send('credits', correlationId, get)
    if (outcome.kind === 'answer') return parseCredits(outcome.body)
    this.#options.log.warn({ correlationId, cause: outcome.cause }, 'the credits could not be read')
    return null
  }

  /** The port promises not to throw: a request that fails unexpectedly may have been sent, so its answer counts as lost. */
  async #send(
    operation: Operation,
    correlationId: string,
    request: UpstreamRequest,
    query = '',
  ): Promise<Outcome> {
    // A stopping service could not store the answer to a paid request.
    if (this.#disposed) return { kind: 'unreachable', cause: 'not sent: the service is stopping' }
    const { baseUrl, log, onAnswer } = this.#options
    const startedAt = performance.now()
    try {
      const outcome = await this.#client.send(baseUrl() + PATHS[operation] + query, request)
      onAnswer?.(operation, toLabel(outcome), performance.now() - startedAt)
      return outcome
    } catch (error) {
      log.error({ err: error, correlationId }, 'an upstream request failed unexpectedly')
      return { kind: 'lost', head: { status: 0, retryAfter: undefined }, cause: String(error) }
    }
  }

  /** The upstream's message for the log. It may quote the request with our API key and the token in the callback URL. */
  #toSaid(body: unknown, callBackUrl: string | null): string | undefined {
    const token = callBackUrl?.split('/').at(-1)
    const secrets = [this.#options.apiKey, callBackUrl ?? '', token ?? '']
    const message = findMessage(body)
    // Truncate last: a truncated secret would not be found.
    return message && redact(message, secrets).slice(0, MAX_SAID_LENGTH)
  }
}

function toBody({ sourceTaskId, imageIndex, waterMark, callBackUrl }: SubmitRequest) {
  return {
    taskId: sourceTaskId,
    imageIndex,
    ...(waterMark !== null && { waterMark }),
    ...(callBackUrl !== null && { callBackUrl }),
  }
}

/** The metric label of an outcome: the three-digit code of the envelope, else the HTTP status, else `other`. */
function toLabel(outcome: Outcome): string {
  if (outcome.kind !== 'answer') return outcome.kind
  const { head, body } = outcome
  const code: unknown = typeof body === 'object' && body !== null && 'code' in body ? body.code : head.status
  const label = typeof code === 'number' || typeof code === 'string' ? String(code) : ''
  return /^\d{3}$/.test(label) ? label : 'other'
}

/** The upstream's message, under any of its known keys. */
function findMessage(body: unknown, depth = 0): string | undefined {
  if (typeof body !== 'object' || body === null || depth > MAX_MESSAGE_DEPTH) return undefined
  for (const key of ['msg', 'message', 'error'] as const) {
    const value: unknown = Reflect.get(body, key)
    if (typeof value === 'string') return value
    if (typeof value === 'object' && value !== null) return findMessage(value, depth + 1)
  }
  return undefined
}
