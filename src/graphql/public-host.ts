import { isIP } from 'node:net'
import { isPublicAddress } from '../net/public-address.ts'

/** Domains that are never public (RFC 6761, RFC 6762, RFC 8375, and common private use). */
const PRIVATE_SUFFIXES = [
  'localhost',
  'local',
  'internal',
  'intranet',
  'lan',
  'home',
  'corp',
  'home.arpa',
  'test',
  'invalid',
  'onion',
]

/**
 * Whether the `hostname` of a URL may be public. The URL parser has normalized other spellings of addresses.
 * Names are resolved and checked when a connection is opened (net/public-address.ts).
 */
export function isPublicHost(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  if (isIP(host) !== 0) return isPublicAddress(host)
  const labels = host.split('.')
  const named = labels.length > 1 && !labels.includes('')
  return named && !PRIVATE_SUFFIXES.some((suffix) => host.endsWith(`.${suffix}`))
}
