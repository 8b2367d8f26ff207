import { connectionFailed, FollowError } from './errors.ts'
import { listen, readEvents, type EventSourceConstructor } from './event-stream.ts'
import { toHttpError } from './http-errors.ts'
import { ENDED, within } from './deadline.ts'
import type { GraphqlRequest, GraphqlResult, Transport } from './transport.ts'

export interface HttpTransportOptions {
  /** The GraphQL URL of the gateway, or of a router in front of it: `https://…/graphql`. */
  readonly url: string
  /** The URL of subscriptions. Default: `/stream` below `url`. That of Hive Gateway is its `url`. */
  readonly streamUrl?: string | undefined
  /**
   * Returns the `Authorization` value (`Bearer …`) for each request; refresh an expired token here. If it rejects, this is
   * handled as a failed connection.
   */
  readonly getAuthorization?: (() => string | undefined | Promise<string | undefined>) | undefined
  /** Default: the global `fetch`. */
  readonly fetch?: typeof fetch | undefined
  /**
   * Subscriptions use this EventSource instead of `fetch`, for environments whose `fetch` cannot stream. It sends no
   * `Authorization`: pass a `watchToken` to `followTask`.
   */
  readonly eventSource?: EventSourceConstructor | undefined
}

/** The gateway sends a comment every 12 s. */
const SILENCE_MS = 15_000
/** EventSource does not report comments. The gateway repeats the state every 15 s. */
const SILENCE_OF_EVENTS_MS = 45_000
/** Longer than any submit takes. */
const REQUEST_MS = 120_000
/** An invalid watch token is reported sooner. A token that was accepted may expire at any time after that. */
const ACCEPTED_AFTER_MS = 1_000
const EVENT_STREAM = 'text/event-stream'

/**
 * A transport without WebSocket: queries and mutations by POST, subscriptions by server-sent events. It does not reconnect:
 * `followTask`, `followTasks` and `submit` do. All failures are FollowErrors. A stream that is silent for 15 seconds is lost.
 */
export function createHttpTransport(options: HttpTransportOptions): Transport {
  return {
    iterate<Data>(request: GraphqlRequest, onOpen?: () => void) {
      const abort = new AbortController()
      const results = run<Data>(options, request, { abort, onOpen })
      return {
        [Symbol.asyncIterator]() {
          return this
        },
        next: () => results.next(),
        // `return` of the generator alone would wait for its pending `next`.
        return() {
          abort.abort(ENDED)
          return results.return()
        },
      }
    },
  }
}

interface Running {
  /** Ends all requests of the operation. */
  readonly abort: AbortController
  readonly onOpen: (() => void) | undefined
}

async function* run<Data>(
  options: HttpTransportOptions,
  request: GraphqlRequest,
  { abort, onOpen }: Running,
): AsyncGenerator<GraphqlResult<Data>, void> {
  const { url, streamUrl = `${url}/stream`, eventSource } = options
  try {
    const isStream = isSubscription(request)
    if (isStream && eventSource) {
      const listening = { abort, silenceMs: SILENCE_OF_EVENTS_MS, onOpen }
      if (yield* listen<GraphqlResult<Data>>(eventSource, toGetUrl(streamUrl, request), listening)) return
    }
    const open = send(options, isStream ? streamUrl : url, { request, signal: abort.signal, isStream })
    const response = await within(isStream ? SILENCE_MS : REQUEST_MS, abort, open)
    if (!response.ok) throw await toHttpError(response)
    onOpen?.()
    if (!response.body || !response.headers.get('content-type')?.startsWith(EVENT_STREAM)) {
      yield await within(REQUEST_MS, abort, response.json() as Promise<GraphqlResult<Data>>)
      return
    }
    const openedAt = performance.now()
    const wait = <Value>(read: Promise<Value>) => within(SILENCE_MS, abort, read)
    let hasResult = false
    for await (const result of readEvents<GraphqlResult<Data>>(response.body, wait)) {
      hasResult ||= performance.now() - openedAt > ACCEPTED_AFTER_MS
      // The token has expired: the next stream begins with a new one.
      if (hasResult && result.errors?.[0]?.extensions?.code === 'UNAUTHENTICATED') return
      hasResult = true
      yield result
    }
  } catch (failure) {
    if (abort.signal.reason === ENDED) return
    if (failure instanceof FollowError) throw failure
    throw connectionFailed(`The connection to ${url} failed.`, true, failure)
  } finally {
    abort.abort(ENDED)
  }
}

interface Sent {
  readonly request: GraphqlRequest
  readonly signal: AbortSignal
  readonly isStream: boolean
}

async function send(
  { fetch: post = fetch, getAuthorization }: HttpTransportOptions,
  url: string,
  { request, signal, isStream }: Sent,
): Promise<Response> {
  const authorization = await getAuthorization?.()
  signal.throwIfAborted()
  return post(url, {
    method: 'POST',
    headers: {
      accept: isStream ? EVENT_STREAM : 'application/json',
      'content-type': 'application/json',
      ...(authorization !== undefined && { authorization }),
    },
    body: JSON.stringify(request),
    signal,
  })
}

function toGetUrl(url: string, { query, variables, operationName }: GraphqlRequest): string {
  const search = new URLSearchParams({ query, variables: JSON.stringify(variables ?? {}) })
  if (operationName !== undefined) search.set('operationName', operationName)
  return `${url}${url.includes('?') ? '&' : '?'}${String(search)}`
}

/** Whether the operation is a subscription, found without a parser. */
function isSubscription({ query, operationName }: GraphqlRequest): boolean {
  // Strings and comments may contain brackets.
  let text = query.replace(/"""(\\"""|[^])*?"""|"(\\.|[^"\\\n])*"|#.*/g, ' ')
  // What remains are the heads of the definitions.
  for (let length = 0; length !== text.length;) {
    length = text.length
    text = text.replace(/\{[^{}]*\}|\([^()]*\)/g, ' ')
  }
  const heads = text.matchAll(/\b(query|mutation|subscription|fragment\s+\w+\s+on)\s*(\w*)/g)
  return [...heads].some(
    ([, kind, name]) => kind === 'subscription' && (operationName === undefined || name === operationName),
  )
}
