/** The formats of settings that are URLs. */
import * as z from 'zod'
import { list } from './values.ts'

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

function hasUserInfo(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { username, password } = new URL(text)
  return username !== '' || password !== ''
}

export function isWeb({ protocol }: URL): boolean {
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

export function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
