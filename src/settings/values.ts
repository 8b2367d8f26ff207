/** The formats of settings. Each schema parses a text, or reports the required format. */
import { isIP } from 'node:net'
import * as z from 'zod'

/** A setting without a default is null if it is not set. */
export const optional = <T extends z.ZodType>(schema: T) => schema.nullable().default(null)

/** A whole number in a range. */
export const integer = (min: number, max: number) => {
  const range = `must be a whole number from ${min} to ${max}`
  return z
    .string()
    .regex(/^\d+$/, range)
    .transform(Number)
    .refine((value) => value >= min && value <= max, range)
}

/** A count, at most a million; 0 means no limit (null). */
export const limit = integer(0, 1_000_000).transform((count) => (count === 0 ? null : count))
export const port = integer(0, 65_535)
/** Milliseconds that a timer of Node can hold. */
export const duration = integer(1, 2_147_483_647)
export const text = z.string()

/** `20/10s`: at most 20 in 10 seconds; 0 means no limit (null). */
export const rate = z
  .string()
  .regex(/^(0|[1-9]\d{0,6}\/[1-9]\d{0,4}s)$/, 'must be COUNT/SECONDSs, such as 20/10s, or 0 for no limit')
  .transform((text) => {
    const [count = 0, seconds = 0] = text.replace('s', '').split('/').map(Number)
    return count === 0 ? null : { limit: count, perMs: seconds * 1_000 }
  })

export const onOff = z
  .enum(['on', 'off', 'true', 'false'], 'must be on or off')
  .transform((value) => value === 'on' || value === 'true')

/** Items separated by commas. */
export const list = z.string().transform((text) => text.split(',').map((item) => item.trim()))

export const host = z
  .string()
  .refine(
    (text) => isIP(text) !== 0 || /^[a-z0-9_][a-z0-9._-]*$/i.test(text),
    'must be a host name or an address, without scheme, port or brackets',
  )

export const baseUrl = z
  .string()
  .refine(isBaseUrl, 'must be an http(s) URL without user info, query or fragment')
  .transform((url) => new URL(url).href.replace(/\/+$/, ''))

export const baseUrls = list.refine(
  (urls) => urls.every(isBaseUrl),
  'must be http(s) URLs without user info, query or fragment, separated by commas',
)

export const jwksUrl = z
  .url({ protocol: /^https?$/, error: 'must be an http(s) URL' })
  .refine((url) => !hasUserInfo(url), 'must be a URL without user info')

/**
 * The issuer of an OpenID provider, unchanged: its slash at the end counts (OpenID Connect Discovery §4.3).
 */
export const issuerUrl = z
  .string()
  .refine(
    (url) => isBaseUrl(url) && (new URL(url).protocol === 'https:' || isLoopback(new URL(url).hostname)),
    'must be an https URL without user info, query or fragment; http only for localhost',
  )

export const databaseUrl = z
  .string()
  .regex(/^(file:.+|postgres(ql)?:\/\/\S+)$/, 'must be file:PATH or postgres://…')
  .transform((url) =>
    url.startsWith('file:')
      ? ({ kind: 'sqlite', file: url.slice('file:'.length) } as const)
      : ({ kind: 'postgres', url } as const),
  )

export const postgresUrl = z.string().regex(/^postgres(ql)?:\/\/\S+$/, 'must be postgres://…')

export const redisUrl = z
  .string()
  .regex(/^rediss?:\/\/\S+$/, 'must be redis://… or rediss://…')
  .refine(
    (url) => URL.canParse(url),
    'must be a valid URL: percent-encode special characters in its user name and password',
  )

export const proxyUrl = z
  .string()
  .refine(
    (text) => isProxy(withScheme(text)),
    'must be http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before the host if the proxy requires it',
  )
  .transform(withScheme)

export const hosts = list
  .transform((items) => items.map(toHostname))
  .refine(
    (items) => items.every((item) => item !== undefined),
    'must be host names or addresses without a port, separated by commas',
  )

export const origins = list.transform((items, context) =>
  items.flatMap((item) => {
    const parsed = parseOrigin(item)
    if ('origin' in parsed) return [parsed.origin]
    context.addIssue(parsed.fault)
    return []
  }),
)

/** `whsec_…`, or `OWNER=whsec_…`. */
const SIGNING_SECRET = /^(?:(.+)=)?(whsec_[A-Za-z0-9+/]+={0,2})$/

/** Secrets of Standard Webhooks; `owner` null: for all owners without their own secret. */
export const signingSecrets = list
  .transform((items) =>
    items.map((item) => {
      const [, owner = null, secret = ''] = SIGNING_SECRET.exec(item) ?? []
      return { owner, secret }
    }),
  )
  .refine(
    (items) =>
      items.every(({ secret }) => {
        const bytes = Buffer.from(secret.slice('whsec_'.length), 'base64').length
        return bytes >= 24 && bytes <= 64
      }),
    'must be secrets of 24 to 64 bytes in the form whsec_BASE64 or OWNER=whsec_BASE64, separated by commas',
  )

/** `OWNER=3,OTHER=0.5`: numbers from 0.01 to 100. */
export const weights = list.transform((items, context) => {
  const found = items.map((item) => /^(.+)=(\d{1,3}(?:\.\d{1,2})?)$/.exec(item))
  const entries = found.map((match) => [match?.[1] ?? '', Number(match?.[2])] as const)
  const areValid = entries.every(([, weight]) => weight >= 0.01 && weight <= 100)
  if (areValid && new Set(entries.map(([owner]) => owner)).size === items.length) return new Map(entries)
  context.addIssue(
    'must be OWNER=WEIGHT, separated by commas, each owner once, with weights from 0.01 to 100',
  )
  return z.NEVER
})

/** Where copies of results are stored. */
export type ResultStore =
  | { readonly kind: 'file'; readonly folder: string }
  | {
      readonly kind: 's3'
      readonly bucket: string
      /** Without slashes at its ends; empty: the whole bucket. */
      readonly prefix: string
      readonly endpoint: string
      readonly region: string
    }
  | { readonly kind: 'off' }

/**
 * `off`, `file:FOLDER`, or `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`, of which only the bucket is
 * required.
 */
export const resultStore = z.string().transform((text, context): ResultStore => {
  if (text === 'off') return { kind: 'off' }
  const [, folder] = /^file:(.+)$/.exec(text) ?? []
  if (folder !== undefined) return { kind: 'file', folder }
  const parsed = parseBucket(text)
  if (!('fault' in parsed)) return parsed
  context.addIssue(parsed.fault)
  return z.NEVER
})

/** A host as in a URL; undefined if the text is not a host. */
function toHostname(text: string): string | undefined {
  const url = `http://${text}`
  return URL.canParse(url) && new URL(url).host === new URL(url).hostname && !/[/@?#]/.test(text)
    ? new URL(url).hostname
    : undefined
}

/** Parses the URL of a bucket; `fault` is the reason why it is invalid. */
function parseBucket(text: string): Extract<ResultStore, { kind: 's3' }> | { readonly fault: string } {
  const [, bucket, path = '', query = ''] = /^s3:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(text) ?? []
  if (bucket === undefined)
    return { fault: 'must be off, file:FOLDER or s3://BUCKET/PREFIX?endpoint=URL&region=NAME' }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) || bucket.includes('..'))
    return { fault: 'must name a bucket of 3 to 63 lower-case letters, digits, dots and hyphens' }
  const prefix = path.replace(/\/$/, '')
  if (!isDecodable(prefix) || (prefix !== '' && /(^|\/)\.{0,2}(\/|$)/.test(decodeURIComponent(prefix))))
    return {
      fault: 'must have a prefix without empty names, "." and "..", with special characters percent-encoded',
    }
  const parameters = new URLSearchParams(query)
  const names = [...parameters.keys()]
  if (names.some((name) => name !== 'endpoint' && name !== 'region') || new Set(names).size < names.length)
    return { fault: 'must have no other parameters than endpoint and region, each once' }
  const region = parameters.get('region') ?? 'us-east-1'
  if (!/^[a-z0-9-]+$/.test(region)) return { fault: 'must have a region such as us-east-1' }
  const endpoint = baseUrl.safeParse(parameters.get('endpoint') ?? `https://s3.${region}.amazonaws.com`)
  if (!endpoint.success)
    return { fault: 'must have an endpoint that is an http(s) URL without user info, query or fragment' }
  return { kind: 's3', bucket, prefix: decodeURIComponent(prefix), endpoint: endpoint.data, region }
}

function hasUserInfo(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { username, password } = new URL(text)
  return username !== '' || password !== ''
}

function isWeb({ protocol }: URL): boolean {
  return protocol === 'http:' || protocol === 'https:'
}

function isLoopback(hostname: string): boolean {
  return ['localhost', '127.0.0.1', '[::1]'].includes(hostname)
}

function isBaseUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const url = new URL(text)
  return isWeb(url) && !hasUserInfo(text) && !/[?#]/.test(url.href)
}

/** As in curl, a proxy without a scheme is an http proxy. */
function withScheme(text: string): string {
  return text.includes('://') ? text : `http://${text}`
}

function isProxy(text: string): boolean {
  if (!URL.canParse(text)) return false
  const url = new URL(text)
  const isBare = url.pathname === '/' && url.search + url.hash === ''
  return isWeb(url) && isBare && isDecodable(url.username + url.password)
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

/** Parses an origin as browsers send it; `fault` is the reason why it is invalid. */
function parseOrigin(text: string): { readonly origin: string } | { readonly fault: string } {
  if (text === '') return { fault: 'must not be empty: remove the comma' }
  const fail = (what: string) => ({ fault: `${JSON.stringify(text)} ${what}` })
  if (text === 'null')
    return fail('is the origin of every sandboxed frame and local file: name an origin of your own')
  if (text.includes('*')) return fail('must not contain a wildcard: list each origin')
  if (text.includes('@')) return { fault: 'must not contain a user name' }
  const [, scheme, rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(text) ?? []
  if (scheme === undefined) return fail('must begin with a scheme, such as https://')
  if (/^wss?$/i.test(scheme)) return fail('must be the origin of the page (http or https), not of the socket')
  if (rest === '') return fail('must name a host')
  if (/^[^/]+\/$/.test(rest)) return fail('must not end with a slash')
  if (/[/\\?#]/.test(rest)) return fail('must not have a path, a query or a fragment')
  if (!URL.canParse(text) || /\s/.test(text)) return fail('is not an origin such as https://app.example.com')
  const url = new URL(text)
  // A browser sends international names in Punycode, and no default port; `URL.origin` is "null" for schemes
  // of apps.
  return { origin: `${url.protocol}//${isWeb(url) ? url.host : rest}` }
}
