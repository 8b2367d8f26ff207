import type { Connector, Outbound } from '../net/outbound.ts'
import { parseRetryAfter } from '../net/retry-after.ts'
import {
  URLS_DROPPED,
  type Engine,
  type PollAnswer,
  type ReadOptions,
  type SubmitAnswer,
  type SubmitRequest,
} from '../tasks/engines/engine-ports.ts'
import type { Clock, Log } from '../tasks/ports.ts'
import { NO_TRACING, type Tracing } from '../tasks/tracing.ts'
import type { Dialect, WireAnswer } from './dialect.ts'
import type { Outcome, UpstreamRequest } from './http.ts'
import { KeyedClient } from './keys.ts'
import { findMessage } from './message.ts'
import { NO_ANSWER_ABOUT_SOURCE, NO_SOURCE, NOT_UNDERSTOOD, UNREACHABLE } from './not-sent.ts'
import { redact } from './redact.ts'
import { traceRequest } from './request-span.ts'
import { keepAllowed } from './result-hosts.ts'
import { judgeRefusal } from './submit-rule.ts'

interface HttpEngineOptions extends Pick<Engine, 'name' | 'mode'> {
  readonly dialect: Dialect
  /**
   * The base of the upstream's paths. Called for each request, because the URL of the embedded sandbox is
   * known only once it listens.
   */
  readonly baseUrl: () => string
  /** At least one; in the order in which they are tried. */
  readonly apiKeys: readonly string[]
  /** Secrets that the upstream's messages may quote, besides its own keys. */
  readonly secrets: readonly string[]
  /** The hosts that results may have; empty: any. */
  readonly resultHosts: readonly string[]
  readonly connector: Connector
  /** How long the paid request may take. */
  readonly timeoutMs: number
  readonly clock: Clock
  readonly log: Log
  /** Default: nothing is traced. */
  readonly tracing?: Tracing
  /**
   * Called after each request: the operation, the answer's code (or `unreachable`, `lost`), and the duration.
   */
  readonly onAnswer?: (operation: Operation, outcome: string, ms: number) => void
}

type Operation = 'submit' | 'lookup' | 'credits' | 'source'

/** How long a proxy may take to open a tunnel to the upstream, in milliseconds. */
const MAX_TUNNEL_MS = 5_000
/** A source task with another number of pictures has one grid, or is no generation. */
const PICTURES_OF_GENERATION = 4
/** How much of the upstream's message is logged. */
const MAX_SAID_LENGTH = 500

/**
 * Opens the engine of an upstream that is called over HTTP. Disposing aborts running requests; the answer of
 * an aborted submit counts as lost.
 */
export function openHttpEngine(options: HttpEngineOptions): Engine & Disposable {
  return new HttpEngine(options)
}

class HttpEngine implements Engine, Disposable {
  readonly name: string
  readonly mode: Engine['mode']
  readonly signsCallbacks: boolean
  readonly findUnsupported: Engine['findUnsupported']
  readonly #options: HttpEngineOptions
  readonly #client: KeyedClient
  readonly #reads: Outbound
  /**
   * The paid request never reuses an idle socket: after a reset of a reused socket, it is unknown whether the
   * request arrived.
   */
  readonly #submits: Outbound
  #disposed = false

  constructor(options: HttpEngineOptions) {
    const { name, mode, dialect, connector, timeoutMs } = options
    const tunnelTimeoutMs = Math.min(timeoutMs, MAX_TUNNEL_MS)
    this.name = name
    this.mode = mode
    this.signsCallbacks = dialect.signsCallbacks
    this.findUnsupported = dialect.findUnsupported
    this.#options = options
    this.#client = new KeyedClient(options)
    this.#reads = connector.open({ keepAlive: true, tunnelTimeoutMs })
    this.#submits = connector.open({ tunnelTimeoutMs })
  }

  [Symbol.dispose](): void {
    this.#disposed = true
    for (const each of [this.#client, this.#reads, this.#submits]) each[Symbol.dispose]()
  }

  async submit(request: SubmitRequest, correlationId: string): Promise<SubmitAnswer> {
    const { dialect, timeoutMs, clock } = this.#options
    const startedAt = clock.elapsed()
    const source = dialect.needsSourceUrl ? await this.#findSourceUrl(request, correlationId) : null
    if (typeof source === 'object' && source !== null) return source
    const { path, body } = dialect.toSubmit({ ...request, sourceUrl: source })
    const outcome = await this.#send('submit', correlationId, path, {
      method: 'POST',
      outbound: this.#submits,
      body: JSON.stringify(body),
      timeoutMs: Math.max(1, timeoutMs - (clock.elapsed() - startedAt)),
      traceparent: request.traceparent,
    })
    return this.#toSubmitAnswer(request, correlationId, outcome)
  }

  #toSubmitAnswer(request: SubmitRequest, correlationId: string, outcome: Outcome): SubmitAnswer {
    const { dialect, clock, log } = this.#options
    const facts = { engine: this.name, correlationId, sourceTaskId: request.sourceTaskId }
    if (outcome.kind === 'unreachable') {
      log.warn({ ...facts, cause: outcome.cause }, 'the upstream could not be reached; nothing was sent')
      return UNREACHABLE
    }
    const { status, retryAfter } = outcome.head
    const isLost = outcome.kind === 'lost'
    const retryAfterMs = parseRetryAfter(retryAfter, clock.now())
    // A status that proves that nothing ran needs no body.
    const wire = { status, body: isLost ? undefined : outcome.body, retryAfterMs }
    const answer = dialect.parseSubmit(wire)
    if (isLost) log.warn({ ...facts, status, cause: outcome.cause }, "the upstream's answer was lost")
    if (isLost && answer.kind !== 'refused') {
      const note = status === 0 ? 'lost: the connection failed or timed out' : `incomplete: HTTP ${status}`
      return { kind: 'unknown', note }
    }
    if (answer.kind === 'accepted') return this.#filterOutcome(answer, facts)
    const said = this.#toSaid(wire.body, request.callBackUrl)
    if (!isLost) log.warn({ ...facts, status, said, answer }, 'the upstream did not accept the task')
    return judgeRefusal(answer, wire, dialect.isEndpointMissing(wire))
  }

  async poll(upstreamTaskId: string, { timeoutMs, correlationId }: ReadOptions): Promise<PollAnswer> {
    const { dialect, log, resultHosts } = this.#options
    const facts = { engine: this.name, correlationId, upstreamTaskId }
    const wire = await this.#read('lookup', dialect.toPollPath(upstreamTaskId), { timeoutMs, correlationId })
    if (wire === null) return { kind: 'unavailable' }
    const answer = dialect.parsePoll(wire)
    const allowed = answer.kind === 'succeeded' ? keepAllowed(answer, resultHosts) : answer
    if ('dropped' in allowed) log.warn({ ...facts, dropped: allowed.dropped }, URLS_DROPPED)
    // Without a usable URL the result is not there yet.
    return allowed.kind === 'succeeded' && allowed.imageUrls.length === 0 ? { kind: 'pending' } : allowed
  }

  async readSource(
    sourceTaskId: string,
    options: ReadOptions,
  ): Promise<readonly string[] | null | 'unavailable'> {
    const { source } = this.#options.dialect
    const wire = await this.#read('source', source.toPath(sourceTaskId), options)
    if (wire === null) return 'unavailable'
    const pictures = source.parse(wire)
    if (pictures === null || pictures === 'unavailable') return pictures
    return pictures.some((url) => url === null) ? null : pictures.flatMap((url) => url ?? [])
  }

  async credits(options: ReadOptions): Promise<number | null> {
    const { credits } = this.#options.dialect
    const wire = credits && (await this.#read('credits', credits.path, options))
    return credits && wire && credits.parse(wire)
  }

  parseCallback: Engine['parseCallback'] = (body) => {
    const { dialect, resultHosts } = this.#options
    const callback = dialect.parseCallback(body)
    if (callback?.outcome.kind !== 'succeeded') return callback
    const outcome = keepAllowed(callback.outcome, resultHosts)
    if (outcome.imageUrls.length > 0) return { ...callback, outcome }
    const { dropped = 0 } = outcome
    return { ...callback, outcome: { kind: 'inconclusive', dropped } }
  }

  /**
   * Drops URLs on hosts that are not allowed. If none is left, the answer has no outcome, and polls look for
   * a result.
   */
  #filterOutcome(answer: SubmitAnswer & { readonly kind: 'accepted' }, facts: object): SubmitAnswer {
    const { outcome, ...accepted } = answer
    if (outcome?.kind !== 'succeeded') return answer
    const allowed = keepAllowed(outcome, this.#options.resultHosts)
    if (allowed.dropped !== undefined)
      this.#options.log.warn({ ...facts, dropped: allowed.dropped }, URLS_DROPPED)
    return allowed.imageUrls.length > 0 ? { ...accepted, outcome: allowed } : accepted
  }

  /** The URL of the picture, or the refusal of the submit. Reading it is free of charge. */
  async #findSourceUrl(
    { sourceTaskId, imageIndex }: SubmitRequest,
    correlationId: string,
  ): Promise<string | SubmitAnswer> {
    const { dialect, timeoutMs } = this.#options
    const options = { timeoutMs: Math.ceil(timeoutMs / 2), correlationId }
    const wire = await this.#read('source', dialect.source.toPath(sourceTaskId), options)
    if (wire === null) return NO_ANSWER_ABOUT_SOURCE
    const source = dialect.source.parse(wire)
    if (source !== 'unavailable')
      return source?.length === PICTURES_OF_GENERATION ? (source[imageIndex] ?? NO_SOURCE) : NO_SOURCE
    // The account may be refused as a whole, such as for a wrong key.
    const answer = dialect.parseSubmit(wire)
    if (answer.kind !== 'refused') return NOT_UNDERSTOOD
    const refused = { ...answer, failure: { ...answer.failure, nothingCharged: true as const } }
    return judgeRefusal(refused, wire, dialect.isEndpointMissing(wire))
  }

  /** Sends a request that is free of charge. Null: there is no answer. */
  async #read(
    operation: Operation,
    path: string,
    { timeoutMs, correlationId }: ReadOptions,
  ): Promise<WireAnswer | null> {
    const get = { method: 'GET', outbound: this.#reads, timeoutMs, traceparent: null } as const
    const outcome = await this.#send(operation, correlationId, path, get)
    if (outcome.kind === 'answer')
      return { status: outcome.head.status, body: outcome.body, retryAfterMs: null }
    const facts = { engine: this.name, correlationId, operation, cause: outcome.cause }
    this.#options.log.warn(facts, 'a read of the upstream got no answer')
    return null
  }

  /**
   * The port promises not to throw: a request that fails unexpectedly may have been sent, so its answer
   * counts as lost.
   */
  async #send(
    operation: Operation,
    correlationId: string,
    path: string,
    request: UpstreamRequest,
  ): Promise<Outcome> {
    // A stopping service could not store the answer to a paid request.
    if (this.#disposed) return { kind: 'unreachable', cause: 'not sent: the service is stopping' }
    const { name, baseUrl, log, tracing = NO_TRACING, onAnswer } = this.#options
    const startedAt = performance.now()
    try {
      const url = baseUrl() + path
      const facts = { engine: name, operation, correlationId, url }
      const outcome = await traceRequest(tracing, facts, request, (traced) => this.#client.send(url, traced))
      onAnswer?.(operation, toLabel(outcome), performance.now() - startedAt)
      return outcome
    } catch (error) {
      log.error({ err: error, correlationId }, 'an upstream request failed unexpectedly')
      return { kind: 'lost', head: { status: 0, retryAfter: undefined }, cause: String(error) }
    }
  }

  /**
   * The upstream's message for the log. It may quote the request with our API key and the token in the
   * callback URL.
   */
  #toSaid(body: unknown, callBackUrl: string | null): string | undefined {
    const token = callBackUrl?.split('/').at(-1)
    const { apiKeys, secrets: others } = this.#options
    const secrets = [...apiKeys, ...others, callBackUrl ?? '', token ?? '']
    const message = findMessage(body)
    // Truncate last: a truncated secret would not be found.
    return message && redact(message, secrets).slice(0, MAX_SAID_LENGTH)
  }
}

/**
 * The metric label of an outcome: the code of the body, of up to three digits, else the HTTP status, else
 * `other`.
 */
function toLabel(outcome: Outcome): string {
  if (outcome.kind !== 'answer') return outcome.kind
  const { head, body } = outcome
  const code: unknown = typeof body === 'object' && body !== null && 'code' in body ? body.code : head.status
  const label = typeof code === 'number' || typeof code === 'string' ? String(code) : ''
  return /^\d{1,3}$/.test(label) ? label : 'other'
}
