/** The schema of the settings: their names, types, defaults, checks and descriptions. */
import { z } from 'zod'
import { engineKeys, engineRates, engines } from './settings-engines.ts'
import {
  baseUrl,
  baseUrls,
  databaseUrl,
  duration,
  host,
  hosts,
  integer,
  jwksUrl,
  limit,
  list,
  onOff,
  origins,
  port,
  postgresUrl,
  proxyUrl,
  rate,
  redisUrl,
  resultStore,
  signingSecrets,
  text,
  weights,
} from './settings-values.ts'

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export const UPSTREAM = 'https://api.kie.ai'

/** A setting without a default is null if it is not set. */
const optional = <T extends z.ZodType>(schema: T) => schema.nullable().default(null)

/**
 * Every setting by the camelCase of its environment variable (`drainMs`: DRAIN_MS). The name contains the unit.
 * `prefault` is the default in the format of the variable. `npm run settings:emit` writes the first sentence of a
 * description to README, and all of it to docs/settings.md.
 */
export const schema = z.object({
  host: host.prefault('127.0.0.1').describe('The address to listen on.'),
  port: port.prefault('4000').describe('The port of the service.'),
  callbackPort: optional(port).describe(
    'A port for callbacks only. When it is set, callbacks are not served on `PORT`, so that GraphQL can stay private.',
  ),
  publicUrl: optional(baseUrl).describe(
    "The base of callback URLs, as the upstream reaches this service. Default in sandbox mode: the service's own address. Absent in live mode: no callbacks, results are found by polling, with a warning.",
  ),
  keepAliveTimeoutMs: duration
    .prefault('620000')
    .describe(
      'How long an HTTP connection may be idle between two requests. It must be longer than the idle timeout of the load balancer in front (60 s on AWS, 600 s on GCP).',
    ),
  drainMs: integer(0, 600_000)
    .prefault('10000')
    .describe('How long running work may continue while the service stops.'),
  logLevel: z
    .enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`)
    .prefault('info')
    .describe(`One of ${LOG_LEVELS.join(', ')}. The log is JSON lines; on a terminal, readable text.`),

  upstreamApiKey: optional(
    z
      .string()
      .regex(/^[\x21-\x7e]+$/, 'must be one word of printable ASCII: the key alone, without "Bearer"'),
  ).describe(
    'The kie.ai key; without it and `ENGINE_KEYS` the service runs in sandbox mode, which costs nothing.',
  ),
  engines: engines
    .prefault('kie-midjourney')
    .describe(
      'The engines that upscale, separated by commas; the first is the default. `kie-midjourney`, `kie-jobs`, `midjourney-proxy`, `legnext`, each optionally as `NAME=ADAPTER:URL`: see [engines](docs/engines.md).',
    ),
  engineKeys: engineKeys
    .default(new Map())
    .describe(
      'The keys of engines, such as `legnext=KEY`, separated by commas. Default for the adapters `kie-midjourney` and `kie-jobs`, unless the engine has a name and a URL of its own: `UPSTREAM_API_KEY`. In live mode each engine needs a key.',
    ),
  engineRateLimits: engineRates
    .default(new Map())
    .describe(
      'Limits of new submits per engine, such as `legnext=20/10s`, separated by commas. Default: `UPSTREAM_RATE_LIMIT` for each engine.',
    ),
  engineFallback: onOff
    .prefault('off')
    .describe(
      '`on`: if an engine is unavailable and nothing was charged, the task moves on to the next engine that supports its input.',
    ),
  upstreamUrl: optional(baseUrl).describe(
    `The base of the engines \`kie-midjourney\` and \`kie-jobs\` without a URL in \`ENGINES\`. Default: \`${UPSTREAM}\`, and the built-in sandbox in sandbox mode.`,
  ),
  upstreamTimeoutMs: duration.prefault('30000').describe('How long the paid request may take.'),
  upstreamRateLimit: rate
    .prefault('20/10s')
    .describe(
      'The limit of new submits to each engine, for all owners together. `0`: no limit. `ENGINE_RATE_LIMITS` sets other limits for single engines.',
    ),
  upstreamWebhookKeys: list
    .refine((keys) => keys.every((key) => key !== ''), 'must be keys separated by commas')
    .default([])
    .describe(
      'The signing keys of callbacks, separated by commas (several while one is replaced). When set, a callback of `kie-midjourney` or `kie-jobs` without a valid signature is refused; other engines do not sign. The sandbox signs with the first.',
    ),
  upstreamWebhookWindowS: integer(1, 86_400)
    .prefault('300')
    .describe(
      'The maximum age of a signature, in seconds. A callback with an older signature only causes a poll.',
    ),
  callbackConfirm: onOff
    .prefault('off')
    .describe('`on`: the success of a callback counts only after a poll confirms it.'),
  pollIntervalMs: duration
    .prefault('30000')
    .describe(
      'How often a task without a callback is polled. A task older than ten intervals is polled after every tenth of its age, at most 2 minutes apart. All tasks together: 5 polls a second.',
    ),
  taskDeadlineMs: duration
    .prefault('1800000')
    .describe(
      'How long a task may take (`deadlineAt`). At the deadline it is polled once more; without a result it fails, and is polled hourly for another day. Should be longer than `UPSTREAM_TIMEOUT_MS`.',
    ),
  taskRetentionDays: integer(0, 36_500)
    .transform((days) => (days === 0 ? null : days))
    .prefault('90')
    .describe('How many days settled tasks are kept. `0`: for ever.'),

  databaseUrl: databaseUrl
    .prefault('file:./data/upscale.db')
    .describe(
      'The SQLite file, for one process; or `postgres://…`, for any number of replicas. See [operations](docs/operations.md).',
    ),
  databaseListenUrl: optional(postgresUrl).describe(
    'A direct connection to the database of `DATABASE_URL`, if that is behind a transaction pooler. It serves `LISTEN` and the counts of rate limits: see [operations](docs/operations.md#through-pgbouncer).',
  ),
  redisUrl: optional(redisUrl).describe(
    'With PostgreSQL: Redis or Valkey for hints between replicas and for shared counts. Without it PostgreSQL does both.',
  ),

  authJwksUrl: optional(jwksUrl).describe(
    "The URL of your identity provider's public keys (JWKS); callers send its bearer JWTs.",
  ),
  authJwtSecret: optional(
    z
      .string()
      .refine(
        (secret) => Buffer.byteLength(secret) >= 32,
        'must have at least 32 bytes (RFC 7518 §3.2); `openssl rand -base64 48` makes one',
      ),
  ).describe(
    'Instead of `AUTH_JWKS_URL`: one HS256 secret of at least 32 bytes (RFC 7518 §3.2), for small installations. `openssl rand -base64 48` makes one.',
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

  resultStore: optional(resultStore).describe(
    'Where copies of results are stored: `file:./data/results`, or `s3://BUCKET/PREFIX?endpoint=…&region=…` of any S3-compatible store. `off`: no copies, and links expire. Default: `file:./data/results` in sandbox mode, `off` in live mode. With `file:`, all replicas must share the folder. S3 takes its credentials from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`: see [results](docs/results.md).',
  ),
  awsAccessKeyId: optional(text).describe('The access key of the S3 store.'),
  awsSecretAccessKey: optional(text).describe('The secret key of the S3 store.'),
  awsSessionToken: optional(text).describe('The session token of temporary credentials for the S3 store.'),
  resultInspectMs: integer(0, 600_000)
    .prefault('5000')
    .describe(
      'How long the inspection of a result may delay SUCCEEDED. After this time a task succeeds with the facts that are known; the others follow. `0`: no inspection.',
    ),
  resultUrl: optional(baseUrl).describe(
    'The base of the links of copies, such as the address of a CDN in front of this service. Default: `PUBLIC_URL`.',
  ),
  resultRedirect: onOff
    .prefault('off')
    .describe(
      '`on`: links of copies redirect to presigned URLs of the S3 store. `off`: the service streams copies.',
    ),
  resultAllowHosts: hosts
    .default([])
    .describe(
      'Private hosts that results may be downloaded from, separated by commas. Other private addresses are refused. In sandbox mode the host of the sandbox is always allowed.',
    ),

  reassertMs: duration
    .prefault('15000')
    .describe('How often a stream repeats its state while nothing changes.'),
  introspection: optional(onOff).describe(
    'Whether introspection is served. Default: `on` in sandbox mode, `off` in live mode. `_service` always is.',
  ),
  graphiql: optional(onOff).describe(
    'Whether GraphiQL is served. Default: `on` in sandbox mode, `off` in live mode.',
  ),
  sandboxImages: optional(text).describe(
    'A folder of pictures for the sandbox. Default: the sandbox draws pictures.',
  ),
  sandboxRateLimit: rate
    .prefault('0')
    .describe(
      "The limit of submits to the sandbox, to simulate that of the upstream's account. `0`: no limit. Further submits are answered with HTTP 429 and `Retry-After`. Each process counts its own.",
    ),
})

/** The environment variable of a setting. */
export const toName = (key: string): string =>
  key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()

export const SETTING_NAMES: readonly string[] = Object.keys(schema.shape).map(toName)
