import got, { RequestError } from 'got'
import type { Outbound } from './outbound.ts'

/** As the global `fetch`, as far as a GET needs it. */
export type Fetch = (
  url: string,
  options: { readonly headers: Headers; readonly signal: AbortSignal },
) => Promise<Response>

/** GETs by these agents. The global `fetch` would use the shared lookup, and no proxy. */
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

/** An error of got carries its request, with credentials, which a log must not show: only the cause goes further. */
export function throwBare(error: unknown): never {
  if (!(error instanceof RequestError)) throw error
  const { code, cause } = error
  // Time limits and aborts have no cause.
  throw new Error('fetch failed', { cause: cause ?? Object.assign(new Error(error.message), { code }) })
}
