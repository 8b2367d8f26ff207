import got, { RequestError } from 'got'
import type { Outbound } from './outbound.ts'

/** The part of the global `fetch` that a GET needs. */
export type Fetch = (
  url: string,
  options: { readonly headers: Headers; readonly signal: AbortSignal },
) => Promise<Response>

/** A fetch that uses these agents. The global `fetch` uses `getaddrinfo`, and no proxy. */
export function createFetch(outbound: Outbound): Fetch {
  return async (url, { headers, signal }) => {
    const request = got(url, {
      headers: Object.fromEntries(headers),
      agent: outbound.agentsFor(url),
      followRedirect: false,
      throwHttpErrors: false,
      retry: { limit: 0 },
      signal,
    })
    const { statusCode, rawBody } = await request.catch((error: unknown) => {
      signal.throwIfAborted()
      return throwBare(error)
    })
    return new Response(new Uint8Array(rawBody), { status: statusCode })
  }
}

/**
 * Throws only the cause of an error of got: the error itself holds the request with its credentials, and
 * errors are logged.
 */
export function throwBare(error: unknown): never {
  if (!(error instanceof RequestError)) throw error
  const { code, cause } = error
  // Timeouts and aborts have no cause.
  throw new Error('fetch failed', { cause: cause ?? Object.assign(new Error(error.message), { code }) })
}
