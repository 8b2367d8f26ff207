/** The settings by name, each with its check; what they mean stands in config.ts. */
import { isIP } from 'node:net'
import { z } from 'zod'
import type { DatabaseConfig, RateConfig, SigningSecretConfig } from './config.ts'
import { parseOrigin } from './settings-origin.ts'

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

const integer = (min: number, max: number) => {
  const range = `must be a whole number from ${min} to ${max}`
  return z
    .string()
    .regex(/^\d+$/, range)
    .transform(Number)
    .refine((value) => value >= min && value <= max, range)
}
const rate = z
  .string()
  .regex(/^(0|[1-9]\d{0,6}\/[1-9]\d{0,4}s)$/, 'must be COUNT/SECONDSs, such as 20/10s, or 0 for no limit')
  .transform((text): RateConfig | null => {
    const [limit = 0, seconds = 0] = text.replace('s', '').split('/').map(Number)
    return limit === 0 ? null : { limit, perMs: seconds * 1_000 }
  })
const limitOrNone = (limit: number): number | null => (limit === 0 ? null : limit)
const port = integer(0, 65_535)
const duration = integer(1, 2_147_483_647)
const baseUrl = z
  .string()
  .refine(isBaseUrl, 'must be an http(s) URL without user info, query or fragment')
  .transform((url) => new URL(url).href.replace(/\/+$/, ''))
const list = z.string().transform((text) => text.split(',').map((item) => item.trim()))
const proxy = z
  .string()
  .refine(
    isProxy,
    'must be http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before the host if the proxy asks for it',
  )
  .transform(toProxyUrl)
/** `whsec_…`, or `owner=whsec_…`. */
const SIGNING_SECRET = /^(?:(.+)=)?(whsec_[A-Za-z0-9+/]+={0,2})$/
const onOff = z.enum(['on', 'off'], 'must be on or off').transform((value) => value === 'on')

/** Defaults stand in `readConfig`, where some depend on the mode. */
export const settings = z.object({
  HOST: z
    .string()
    .refine(isHost, 'must be a host name or an address, without scheme, port or brackets')
    .optional(),
  PORT: port.optional(),
  CALLBACK_PORT: port.optional(),
  UPSTREAM_API_KEY: z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be one word of printable ASCII: the key alone, without "Bearer"')
    .optional(),
  UPSTREAM_URL: baseUrl.optional(),
  UPSTREAM_TIMEOUT_MS: duration.optional(),
  PUBLIC_URL: baseUrl.optional(),
  DATABASE_URL: z
    .string()
    .regex(/^(file:.+|postgres(ql)?:\/\/\S+)$/, 'must be file:PATH or postgres://…')
    .transform(toDatabase)
    .optional(),
  DATABASE_LISTEN_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\/\S+$/, 'must be postgres://…')
    .optional(),
  REDIS_URL: z
    .string()
    .regex(/^rediss?:\/\/\S+$/, 'must be redis://… or rediss://…')
    .refine(
      (url) => URL.canParse(url),
      'must be a valid URL: percent-encode special characters in its user name and password',
    )
    .optional(),
  HTTPS_PROXY: proxy.optional(),
  HTTP_PROXY: proxy.optional(),
  NO_PROXY: z
    .string()
    .transform((text) => text.split(/[\s,]+/).filter((entry) => entry !== ''))
    .optional(),
  AUTH_MODE: z.enum(['jwt', 'none'], 'must be jwt or none').optional(),
  AUTH_JWKS_URL: z
    .url({ protocol: /^https?$/, error: 'must be an http(s) URL' })
    .refine((url) => !hasUserInfo(url), 'must be a URL without user info')
    .optional(),
  AUTH_JWT_SECRET: z
    .string()
    .refine(
      (secret) => Buffer.byteLength(secret) >= 32,
      'must have at least 32 bytes (RFC 7518 §3.2); `openssl rand -base64 48` makes one',
    )
    .optional(),
  AUTH_ISSUER: z.string().optional(),
  AUTH_AUDIENCE: z.string().optional(),
  UPSTREAM_RATE_LIMIT: rate.optional(),
  OWNER_RATE_LIMIT: rate.optional(),
  OWNER_SOCKET_LIMIT: integer(0, 1_000_000).transform(limitOrNone).optional(),
  SOCKET_OPERATION_LIMIT: integer(0, 1_000_000).transform(limitOrNone).optional(),
  CORS_ORIGINS: list.transform(toOrigins).optional(),
  CALLBACK_SIGNING_SECRETS: list
    .refine(
      (secrets) => secrets.every(isSigningSecret),
      'must be secrets of 24 to 64 bytes in the form whsec_BASE64 or OWNER=whsec_BASE64, separated by commas',
    )
    .transform((secrets) => secrets.map(toSigningSecret))
    .optional(),
  CALLBACK_ALLOW_HOSTS: list
    .transform((hosts) => hosts.map(toHostname))
    .refine(
      (hosts) => hosts.every((host) => host !== undefined),
      'must be host names or addresses without a port, separated by commas',
    )
    .optional(),
  CALLBACK_RETRY_FOR_S: integer(60, 2_592_000).optional(),
  SUBSCRIPTION_CALLBACK_URLS: list
    .refine(
      (urls) => urls.every(isBaseUrl),
      'must be http(s) URLs without user info, query or fragment, separated by commas',
    )
    .optional(),
  WATCH_TOKEN_SECRETS: list
    .refine(
      (secrets) => secrets.every(({ length }) => length >= 32),
      'must be secrets of at least 32 characters, separated by commas',
    )
    .optional(),
  WATCH_TOKEN_TTL_S: integer(60, 86_400).optional(),
  GUEST_SOCKETS: onOff.optional(),
  GUEST_SOCKET_LIMIT: integer(0, 1_000_000).transform(limitOrNone).optional(),
  POLL_INTERVAL_MS: duration.optional(),
  TASK_DEADLINE_MS: duration.optional(),
  REASSERT_MS: duration.optional(),
  DRAIN_MS: integer(0, 600_000).optional(),
  KEEP_ALIVE_TIMEOUT_MS: duration.optional(),
  UPSTREAM_WEBHOOK_KEYS: list
    .refine((keys) => keys.every((key) => key !== ''), 'must be keys separated by commas')
    .optional(),
  UPSTREAM_WEBHOOK_WINDOW_S: integer(1, 86_400).optional(),
  CALLBACK_CONFIRM: z
    .enum(['true', 'false'], 'must be true or false')
    .transform((value) => value === 'true')
    .optional(),
  TASK_RETENTION_DAYS: integer(0, 36_500).optional(),
  SANDBOX_IMAGES: z.string().optional(),
  INTROSPECTION: onOff.optional(),
  GRAPHIQL: onOff.optional(),
  LOG_LEVEL: z.enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`).optional(),
})

/** The names of all settings. */
export const SETTING_NAMES = Object.keys(settings.shape) as readonly (keyof typeof settings.shape)[]

/** Environment variables as they are. */
export type Given = Partial<Record<keyof typeof settings.shape, string | undefined>>

function toDatabase(url: string): DatabaseConfig {
  return url.startsWith('file:')
    ? { kind: 'sqlite', file: url.slice('file:'.length) }
    : { kind: 'postgres', url }
}

function isHost(text: string): boolean {
  return isIP(text) !== 0 || /^[a-z0-9_][a-z0-9._-]*$/i.test(text)
}

function toOrigins(texts: readonly string[], context: z.RefinementCtx): string[] {
  return texts.flatMap((text) => {
    const parsed = parseOrigin(text)
    if ('origin' in parsed) return [parsed.origin]
    context.addIssue(parsed.fault)
    return []
  })
}

function toSigningSecret(text: string): SigningSecretConfig {
  const [, owner = null, secret = ''] = SIGNING_SECRET.exec(text) ?? []
  return { owner, secret }
}

function isSigningSecret(text: string): boolean {
  const { secret } = toSigningSecret(text)
  const bytes = Buffer.from(secret.slice('whsec_'.length), 'base64').length
  return bytes >= 24 && bytes <= 64
}

/** A host as URLs spell it; undefined when it is none. */
function toHostname(text: string): string | undefined {
  const url = `http://${text}`
  return URL.canParse(url) && new URL(url).host === new URL(url).hostname && !/[/@?#]/.test(text)
    ? new URL(url).hostname
    : undefined
}

function hasUserInfo(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { username, password } = new URL(text)
  return username !== '' || password !== ''
}

/** Without a scheme it is http, as in curl. */
function toProxyUrl(text: string): string {
  return text.includes('://') ? text : `http://${text}`
}

function isProxy(text: string): boolean {
  if (!URL.canParse(toProxyUrl(text))) return false
  const { protocol, pathname, search, hash, username, password } = new URL(toProxyUrl(text))
  const web = protocol === 'http:' || protocol === 'https:'
  return web && pathname === '/' && search + hash === '' && isDecodable(username + password)
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

function isBaseUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, username, password, href } = new URL(text)
  const web = protocol === 'http:' || protocol === 'https:'
  return web && username === '' && password === '' && !/[?#]/.test(href)
}
