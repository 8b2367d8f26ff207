import * as z from 'zod'
import type { Fetch } from '../net/fetch.ts'
import type { Clock, Log } from '../tasks/ports.ts'
import { shareCalls } from '../tasks/timing.ts'

const SHARED_FOR_MS = 60_000
/** A page waits for it. */
const TIMEOUT_MS = 3_000

const metadata = z.object({ token_endpoint: z.url({ protocol: /^https?$/ }) })

/**
 * Returns a function that finds the origins that a sign-in connects to: those of the issuer and of its token
 * endpoint (OpenID Connect Discovery §4). If the provider does not respond, that of the issuer. Does not
 * reject.
 */
export function createProviderOrigins(
  issuer: string,
  { fetch, clock, log }: { readonly fetch: Fetch; readonly clock: Clock; readonly log: Log },
): () => Promise<readonly string[]> {
  const own = new URL(issuer).origin
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const discover = shareCalls(clock, SHARED_FOR_MS, async () => {
    try {
      const response = await fetch(url, { headers: new Headers(), signal: AbortSignal.timeout(TIMEOUT_MS) })
      const { token_endpoint: endpoint } = metadata.parse(await response.json())
      return [...new Set([own, new URL(endpoint).origin])]
    } catch (error) {
      log.warn({ err: error, url }, 'CONSOLE_OIDC_ISSUER: failed to read the metadata of the OpenID provider')
      return [own]
    }
  })
  return () => discover('', '')
}
