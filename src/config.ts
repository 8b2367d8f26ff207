import type { z } from 'zod'
import { readGiven } from './settings-given.ts'
import { settings, type Given, type LogLevel } from './settings.ts'

/** Every setting of the service, parsed and checked. Durations are milliseconds. */
export interface Config {
  readonly host: string
  readonly port: number
  /** When set, callbacks are served on this port only. */
  readonly callbackPort: number | null
  /** LIVE: the real upstream, paid. SANDBOX: the embedded one, free. */
  readonly mode: 'LIVE' | 'SANDBOX'
  readonly upstream: { readonly apiKey: string; readonly url: string | null; readonly timeoutMs: number }
  /** Base of callback URLs; null: own address in the sandbox, no callbacks (polling only) in live mode. */
  readonly publicUrl: string | null
  readonly database: DatabaseConfig
  /** A direct connection for LISTEN and rate limits, if `database` is behind a transaction pooler; null: use `database`. */
  readonly listenUrl: string | null
  /** Redis or Valkey, for hints between replicas and for counts that they share; null: PostgreSQL does it. */
  readonly redisUrl: string | null
  readonly pollIntervalMs: number
  readonly taskDeadlineMs: number
  readonly reassertMs: number
  readonly drainMs: number
  /** How long an HTTP connection may be idle between two requests. */
  readonly keepAliveMs: number
  /** Keys of the vendor's callback signatures; none: signatures are not asked for. */
  readonly webhookKeys: readonly string[]
  /** How far the timestamp of a signature may be from now. */
  readonly webhookWindowMs: number
  /** True: a callback's success counts only once record-info agrees. */
  readonly confirmCallbacks: boolean
  /** How long settled tasks are kept; null: for ever. */
  readonly retentionMs: number | null
  /** Folder of pictures for the sandbox; null: it draws its own. */
  readonly sandboxImages: string | null
  readonly auth: AuthConfig
  /** New submits of all owners together, and of each; null: no limit. */
  readonly upstreamRate: RateConfig | null
  readonly ownerRate: RateConfig | null
  /** Sockets of one owner, operations of one socket; null: no limit. */
  readonly ownerSocketLimit: number | null
  readonly socketOperationLimit: number | null
  /** Origins whose pages may call us and open sockets, besides our own. */
  readonly corsOrigins: readonly string[]
  /** Secrets that callbacks to callers' servers are signed with. */
  readonly signingSecrets: readonly SigningSecretConfig[]
  /** How long a delivery is retried before it is given up. */
  readonly deliverForMs: number
  /** Hosts that may be called back although they are private. */
  readonly callbackAllowHosts: readonly string[]
  /** Where routers take the events of subscriptions (callback/1.0). */
  readonly subscriptionCallbackUrls: readonly string[]
  /** Secrets of watch tokens: the first signs, all verify; null: the sandbox makes one up, live mode gives out none. */
  readonly watchTokenSecrets: readonly string[] | null
  readonly watchTokenLifetimeMs: number
  /** Whether sockets that bring no token are let in, to follow tasks by watch tokens. */
  readonly guestSockets: boolean
  /** The limit of sockets without a token; null: no limit. */
  readonly guestSocketLimit: number | null
  /** Proxies for requests to the upstream and the JWKS, for deliveries and router callbacks. */
  readonly proxies: ProxyConfig
  readonly introspection: boolean
  readonly graphiql: boolean
  readonly logLevel: LogLevel
}

/** Proxy URLs, with credentials, or null; and the hosts that are reached directly. */
export interface ProxyConfig {
  readonly http: string | null
  readonly https: string | null
  readonly noProxy: readonly string[]
}

/** Where tasks are kept: in one file, for one process; or in PostgreSQL, for any number of replicas. */
export type DatabaseConfig =
  { readonly kind: 'sqlite'; readonly file: string } | { readonly kind: 'postgres'; readonly url: string }

/** So many in so much time. */
export interface RateConfig {
  readonly limit: number
  readonly perMs: number
}

/** A signing secret; `owner` null: for all who have none of their own. */
export interface SigningSecretConfig {
  readonly owner: string | null
  readonly secret: string
}

/** How callers prove who they are; see http/auth.ts. */
export type AuthConfig =
  | { readonly mode: 'none' }
  | {
      readonly mode: 'jwt'
      readonly keys: { readonly jwksUrl: string } | { readonly secret: string }
      readonly issuer: string | null
      readonly audience: string | null
    }

const DAY_MS = 86_400_000

/** All that is wrong with the settings, one line each. */
export class ConfigError extends Error {
  override name = 'ConfigError'

  constructor(faults: readonly string[]) {
    super(`The settings are not usable:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`)
  }
}

/**
 * Parses environment variables; an empty one counts as unset. Pure.
 * @throws ConfigError naming every fault at once.
 */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  const { given, faults } = readGiven(environment)
  const parsed = settings.safeParse(given)
  for (const { path, message } of parsed.error?.issues ?? [])
    faults.push(`${path.join('.')}${message.startsWith('"') ? ':' : ''} ${message}`)
  const live = Boolean(environment.UPSTREAM_API_KEY)
  faults.push(...findAuthFaults(given, live), ...(parsed.success ? findContradictions(parsed.data) : []))
  if (!parsed.success || faults.length > 0) throw new ConfigError(faults)

  const env = parsed.data
  return {
    host: env.HOST ?? '127.0.0.1',
    port: env.PORT ?? 4000,
    callbackPort: env.CALLBACK_PORT ?? null,
    mode: live ? 'LIVE' : 'SANDBOX',
    upstream: {
      apiKey: env.UPSTREAM_API_KEY ?? 'sandbox',
      url: env.UPSTREAM_URL ?? (live ? 'https://api.kie.ai' : null),
      timeoutMs: env.UPSTREAM_TIMEOUT_MS ?? 30_000,
    },
    publicUrl: env.PUBLIC_URL ?? null,
    database: env.DATABASE_URL ?? { kind: 'sqlite', file: './data/upscale.db' },
    listenUrl: env.DATABASE_LISTEN_URL ?? null,
    redisUrl: env.REDIS_URL ?? null,
    pollIntervalMs: env.POLL_INTERVAL_MS ?? 30_000,
    taskDeadlineMs: env.TASK_DEADLINE_MS ?? 1_800_000,
    reassertMs: env.REASSERT_MS ?? 15_000,
    drainMs: env.DRAIN_MS ?? 10_000,
    keepAliveMs: env.KEEP_ALIVE_TIMEOUT_MS ?? 620_000,
    webhookKeys: env.UPSTREAM_WEBHOOK_KEYS ?? [],
    webhookWindowMs: (env.UPSTREAM_WEBHOOK_WINDOW_S ?? 300) * 1_000,
    confirmCallbacks: env.CALLBACK_CONFIRM ?? false,
    retentionMs: env.TASK_RETENTION_DAYS === 0 ? null : (env.TASK_RETENTION_DAYS ?? 90) * DAY_MS,
    sandboxImages: env.SANDBOX_IMAGES ?? null,
    auth: toAuth(env, live),
    upstreamRate:
      env.UPSTREAM_RATE_LIMIT === undefined ? { limit: 20, perMs: 10_000 } : env.UPSTREAM_RATE_LIMIT,
    ownerRate: env.OWNER_RATE_LIMIT === undefined ? { limit: 60, perMs: 60_000 } : env.OWNER_RATE_LIMIT,
    ownerSocketLimit: env.OWNER_SOCKET_LIMIT === undefined ? 20 : env.OWNER_SOCKET_LIMIT,
    socketOperationLimit: env.SOCKET_OPERATION_LIMIT === undefined ? 100 : env.SOCKET_OPERATION_LIMIT,
    corsOrigins: env.CORS_ORIGINS ?? [],
    signingSecrets: env.CALLBACK_SIGNING_SECRETS ?? [],
    deliverForMs: (env.CALLBACK_RETRY_FOR_S ?? 86_400) * 1_000,
    callbackAllowHosts: env.CALLBACK_ALLOW_HOSTS ?? [],
    subscriptionCallbackUrls: env.SUBSCRIPTION_CALLBACK_URLS ?? [],
    watchTokenSecrets: env.WATCH_TOKEN_SECRETS ?? null,
    watchTokenLifetimeMs: (env.WATCH_TOKEN_TTL_S ?? 3_600) * 1_000,
    guestSockets: env.GUEST_SOCKETS ?? false,
    guestSocketLimit: env.GUEST_SOCKET_LIMIT === undefined ? 1_000 : env.GUEST_SOCKET_LIMIT,
    proxies: { http: env.HTTP_PROXY ?? null, https: env.HTTPS_PROXY ?? null, noProxy: env.NO_PROXY ?? [] },
    introspection: env.INTROSPECTION ?? !live,
    graphiql: env.GRAPHIQL ?? !live,
    logLevel: env.LOG_LEVEL ?? 'info',
  }
}

type AuthSetting = 'AUTH_MODE' | 'AUTH_JWKS_URL' | 'AUTH_JWT_SECRET'

/** jwt, when keys are given or the upstream is the real one; none only when said, or in the sandbox. */
function toAuthMode(
  { AUTH_MODE, AUTH_JWKS_URL, AUTH_JWT_SECRET }: Pick<Given, AuthSetting>,
  live: boolean,
): string {
  return AUTH_MODE ?? (live || AUTH_JWKS_URL !== undefined || AUTH_JWT_SECRET !== undefined ? 'jwt' : 'none')
}

function findAuthFaults(given: Given, live: boolean): string[] {
  if (toAuthMode(given, live) !== 'jwt') return []
  const keys = [given.AUTH_JWKS_URL, given.AUTH_JWT_SECRET].filter((key) => key !== undefined)
  if (keys.length === 1) return []
  return [
    keys.length === 2
      ? 'AUTH_JWKS_URL and AUTH_JWT_SECRET exclude each other'
      : 'AUTH_JWKS_URL or AUTH_JWT_SECRET must be set, so that callers can be told apart; or AUTH_MODE=none, ' +
        'which lets everyone in',
  ]
}

function findContradictions(env: z.infer<typeof settings>): string[] {
  const { PORT = 4000, CALLBACK_PORT, DATABASE_URL, DATABASE_LISTEN_URL } = env
  const faults = []
  if (CALLBACK_PORT === PORT && PORT !== 0)
    faults.push('CALLBACK_PORT must differ from PORT; without it, callbacks are served on PORT')
  if (DATABASE_LISTEN_URL !== undefined && DATABASE_URL?.kind !== 'postgres')
    faults.push('DATABASE_LISTEN_URL must be unset unless DATABASE_URL is postgres://…')
  return faults
}

function toAuth(env: z.infer<typeof settings>, live: boolean): AuthConfig {
  const { AUTH_JWKS_URL: jwksUrl, AUTH_JWT_SECRET: secret = '' } = env
  if (toAuthMode(env, live) === 'none') return { mode: 'none' }
  const keys = jwksUrl === undefined ? { secret } : { jwksUrl }
  return { mode: 'jwt', keys, issuer: env.AUTH_ISSUER ?? null, audience: env.AUTH_AUDIENCE ?? null }
}
