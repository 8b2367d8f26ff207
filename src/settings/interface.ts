/** What clients see: streams, introspection, GraphiQL, the console, the sandbox. */
import { issuerUrl } from './urls.ts'
import { duration, onOff, optional, rate, text } from './values.ts'

export const interfaceSettings = {
  reassertMs: duration
    .prefault('15000')
    .describe('How often a stream repeats its state while nothing changes.'),
  introspection: optional(onOff).describe(
    'Whether introspection is served. Default: `on` in sandbox mode, `off` in live mode. `_service` always is.',
  ),
  graphiql: optional(onOff).describe(
    'Whether GraphiQL is served. Default: `on` in sandbox mode, `off` in live mode.',
  ),
  console: optional(onOff).describe(
    'Whether the console is served at `/console/`. Default: `on` in sandbox mode, `off` in live mode.',
  ),
  consoleOidcIssuer: optional(issuerUrl).describe(
    "The issuer of your OpenID provider, as its `iss` spells it: the console then has a sign-in (authorization code with PKCE). Register `https://GATEWAY/console/` as a redirect URI there, and the gateway's origin for CORS. Its access tokens must be JWTs that `AUTH_JWKS_URL` verifies.",
  ),
  consoleOidcClientId: optional(text).describe(
    'The id of the console at the OpenID provider: a public client, without a secret.',
  ),
  consoleOidcScope: text
    .prefault('openid')
    .describe(
      'The scopes that the console requests, separated by spaces. `AUTH_AUDIENCE` is requested as the audience.',
    ),
  sandboxImages: optional(text).describe(
    'A folder of pictures for the sandbox. Default: the sandbox draws pictures.',
  ),
  sandboxRateLimit: rate
    .prefault('0')
    .describe(
      "The limit of submits to the sandbox, to simulate that of the upstream's account. `0`: no limit. Further submits are answered with HTTP 429 and `Retry-After`. Each process counts its own.",
    ),
}
