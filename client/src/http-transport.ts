import { connectionFailed, FollowError } from './errors.ts'
import { listen, readEvents, type EventSourceConstructor } from './event-stream.ts'
import { toHttpError } from './http-errors.ts'
import { toLimit } from './deadline.ts'
import type { GraphqlRequest, GraphqlResult, Transport } from './transport.ts'

export interface HttpTransportOptions {
  /** The GraphQL URL of the gateway, or of a router in front of it: `https://…/graphql`. */
  readonly url: string
  /** The URL of subscriptions. Default: `/stream` below `url`. That of Hive Gateway is its `url`. */
  readonly streamUrl?: string | undefined
  /**
   * Returns the `Authorization` value (`Bearer …`) for each request; refresh an expired token here. If it
   * rejects, this is handled as a failed connection.
   */
  readonly getAuthorization?: (() => string | undefined | Promise<string | undefined>) | undefined
  /** Default: the global `fetch`. */
  readonly fetch?: typeof fetch | undefined
  /**
   * Subscriptions use this EventSource instead of `fetch`, for environments whose `fetch` cannot stream. It
   * sends no `Authorization`: pass a `watchToken` to `followTask`.
   */
  readonly eventSource?: EventSourceConstructor | undefined
}

/** The gateway sends a comment every 12 s. */
const SILENCE_MS = 15_000
/**
 * Longer than any submit takes. EventSource does not report comments, but the gateway repeats the state every
 * 15 s.
 */
const REQUEST_MS = 60_000

/**
 * A transport without WebSocket: queries and mutations by POST, subscriptions by server-sent events. It does
 * not reconnect: `followTask`, `followTasks` and `submit` do. All failures are FollowErrors. A stream that is
 * silent for 15 seconds is lost.
 */
export function createHttpTransport(options: HttpTransportOptions): Transport {
  return {
    iterate<Data>(request: GraphqlRequest) {
      const abort = new AbortController()
      const results = run<Data>(options, request, abort)
      const end = results.return.bind(results)
      // `return` of a generator alone waits for its pending `next`.
      results.return = (value) => {
        abort.abort()
        return end(value)
      }
      return results
    },
  }
}

async function* run<Data>(
  options: HttpTransportOptions,
  request: GraphqlRequest,
  abort: AbortController,
): AsyncGenerator<GraphqlResult<Data>, void> {
  const { url, streamUrl = `${url}/stream`, fetch: send = fetch, getAuthorization, eventSource } = options
  const { query, variables } = request
  const { signal } = abort
  // The gateway's URL of streams also runs a query that looks like a subscription.
  const isStream = /(^|[\n}])\s*subscription\b/.test(query)
  const limit = toLimit(abort, isStream && !eventSource ? SILENCE_MS : REQUEST_MS)
  try {
    if (isStream && eventSource) {
      const search = new URLSearchParams({ ...request, variables: JSON.stringify(variables) })
      if (yield* listen<GraphqlResult<Data>>(eventSource, `${streamUrl}?${String(search)}`, limit)) return
    }
    const authorization = await limit(Promise.resolve(getAuthorization?.()))
    const sent = send(isStream ? streamUrl : url, {
      method: 'POST',
      headers: {
        accept: isStream ? 'text/event-stream' : 'application/json',
        'content-type': 'application/json',
        ...(authorization && { authorization }),
      },
      body: JSON.stringify(request),
      signal,
    })
    const response = await limit(sent)
    if (!response.ok) throw await toHttpError(response)
    const { body, headers } = response
    if (!body || !headers.get('content-type')?.includes('event-stream')) {
      yield await limit(response.json() as Promise<GraphqlResult<Data>>)
      return
    }
    let hasResult = false
    for await (const result of readEvents<GraphqlResult<Data>>(body, limit)) {
      // The token has expired: the next stream begins with a new one.
      if (hasResult && result.errors?.[0]?.extensions?.code === 'UNAUTHENTICATED') return
      hasResult = true
      yield result
    }
  } catch (failure) {
    // The caller has ended it, without an error.
    if ((signal.reason as Error | undefined)?.name === 'AbortError') return
    throw failure instanceof FollowError ? failure : connectionFailed(failure)
  } finally {
    abort.abort()
  }
}
