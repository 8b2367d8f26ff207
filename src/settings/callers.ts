/** Who may call, and how much. */
import * as z from 'zod'
import { origins } from './origins.ts'
import { jwksUrl } from './urls.ts'
import { integer, limit, list, onOff, optional, rate, text, weights } from './values.ts'

export const callerSettings = {
  authJwksUrl: optional(jwksUrl).describe(
    "The URL of your identity provider's public keys (JWKS); callers send its bearer JWTs.",
  ),
  authJwtSecret: optional(
    list.refine(
      (secrets) => secrets.every((secret) => Buffer.byteLength(secret) >= 32),
      'must have at least 32 bytes (RFC 7518 §3.2), or several such secrets separated by commas; `openssl rand -base64 48` makes one',
    ),
  ).describe(
    'Instead of `AUTH_JWKS_URL`: an HS256 secret of at least 32 bytes (RFC 7518 §3.2), for small installations. `openssl rand -base64 48` makes one. Several, separated by commas, [while one is replaced](docs/runbook.md#rotate-secrets): a token signed with any of them is accepted.',
  ),
  authIssuer: optional(text).describe('The `iss` that a token must have.'),
  authAudience: optional(text).describe('The `aud` that a token must have.'),
  authMode: optional(z.enum(['jwt', 'none'], 'must be jwt or none')).describe(
    '`none`: callers are not authenticated, and all are the owner `anonymous`. Default: `jwt`; in sandbox mode without keys `none`. Live mode without keys starts only if this is set explicitly.',
  ),
  ownerRateLimit: rate
    .prefault('60/60s')
    .describe(
      'The limit of new submits of one owner. `0`: no limit. A replay does not count, unless it has a new idempotency key for an existing task.',
    ),
  queueLimit: limit
    .prefault('100')
    .describe(
      'The limit of tasks of one owner that wait in the queue. `0`: no limit. A task that the upstream refuses for now goes back even into a full [queue](docs/queue.md).',
    ),
  ownerWeights: weights
    .default(new Map())
    .describe(
      'Weights of owners in the queue, such as `alice=3,bob=0.5`: alice has three turns for one turn of an owner with 1. Default: 1.',
    ),
  ownerSocketLimit: limit
    .prefault('20')
    .describe(
      'The limit of sockets of one owner. `0`: no limit. All guests with watch tokens of one task count as one owner.',
    ),
  socketOperationLimit: limit
    .prefault('100')
    .describe(
      'The limit of operations on one socket, and of streams of one owner over HTTP. `0`: no limit. A stream of many tasks counts as one.',
    ),
  guestSockets: onOff
    .prefault('off')
    .describe(
      '`on`: sockets without a token are accepted, to follow tasks by watch tokens. For routers that send no token.',
    ),
  guestSocketLimit: limit
    .prefault('1000')
    .describe('The limit of sockets without a token, all together. `0`: no limit.'),
  watchTokenSecrets: optional(
    list.refine(
      (secrets) => secrets.every(({ length }) => length >= 32),
      'must be secrets of at least 32 characters, separated by commas',
    ),
  ).describe(
    'Secrets of watch tokens, at least 32 characters each, separated by commas. The first signs, all verify; they must be the same on all replicas. Default in sandbox mode: generated. Absent in live mode: `watchToken` is null.',
  ),
  watchTokenTtlS: integer(60, 86_400)
    .prefault('3600')
    .describe('How long a watch token is valid, in seconds.'),
  corsOrigins: origins
    .default([])
    .describe(
      'Origins, separated by commas, whose pages may call the service and open sockets. `https://app.example.com`, or of apps (`capacitor://localhost`, `tauri://localhost`, `chrome-extension://ID`). No wildcard, no `null`, no slash at the end.',
    ),
}
