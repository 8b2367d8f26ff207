import got from 'got'
import type { Outbound } from './outbound.ts'

/** As the global `fetch`, as far as a GET needs it. */
export type Fetch = (
  url: string,
  options: { readonly headers: Headers; readonly signal: AbortSignal },
) => Promise<Response>

/** GETs by these agents. The global `fetch` would use the shared lookup, and no proxy. */
export function createFetch(outbound: Outbound): Fetch {
  return async (url, { headers, signal }) => {
    const { statusCode, rawBody } = await got(url, {
      headers: Object.fromEntries(headers),
      agent: outbound.agentsFor(url),
      followRedirect: false,
      throwHttpErrors: false,
      retry: { limit: 0 },
      signal,
    })
    return new Response(new Uint8Array(rawBody), { status: statusCode })
  }
}
