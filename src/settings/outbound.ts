/** Deliveries to callers' servers, router callbacks and proxies. */
import * as z from 'zod'
import { baseUrls, proxyUrl } from './urls.ts'
import { hosts, integer, optional, signingSecrets } from './values.ts'

export const outboundSettings = {
  callbackSigningSecrets: signingSecrets
    .default([])
    .describe(
      'Secrets that sign deliveries, `whsec_…`, separated by commas: see [callbacks](docs/callbacks.md). Default in sandbox mode: generated and logged. Absent in live mode: `callBackUrl` is refused.',
    ),
  callbackRetryForS: integer(60, 2_592_000)
    .prefault('86400')
    .describe('How long a delivery is retried before it is given up, in seconds.'),
  callbackAllowHosts: hosts
    .default([])
    .describe('Private hosts that deliveries may go to, such as `localhost`, separated by commas.'),
  subscriptionCallbackUrls: baseUrls
    .default([])
    .describe(
      "URLs that router callbacks (Apollo's `callback/1.0`) may go to, separated by commas. URLs under one of them are allowed, too, if that part has no percent-encoding.",
    ),
  httpsProxy: optional(proxyUrl).describe(
    'The proxy for `https:` requests to the upstream and the JWKS, for deliveries, router callbacks, downloads of results and the S3 store. `http://USER:PASSWORD@HOST:PORT`, or `https://…`; the lower-case name works, too. Connections to databases and Redis do not use it. The proxy must refuse private destinations: see [SECURITY](SECURITY.md#your-part).',
  ),
  httpProxy: optional(proxyUrl).describe('The same for `http:` requests.'),
  noProxy: z
    .string()
    .transform((text) => text.split(/[\s,]+/).filter((entry) => entry !== ''))
    .default([])
    .describe(
      'Hosts that are connected without a proxy, separated by commas. `*`, domains (with their subdomains), addresses or ranges (`10.0.0.0/8`), each optionally with a port. Loopback addresses never use a proxy.',
    ),
}
