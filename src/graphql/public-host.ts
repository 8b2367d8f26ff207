import ipaddr from 'ipaddr.js'

/** Names that never lead to the public internet (RFC 6761, RFC 6762, RFC 8375, and common private use). */
const PRIVATE_SUFFIXES = ['localhost', 'local', 'internal', 'intranet', 'lan', 'home', 'corp', 'home.arpa']

/**
 * Whether a host, as WHATWG URL parsing leaves it (so that decimal, octal and hex spellings have become
 * what they mean), may be on the public internet. Names are not resolved here.
 */
export function isPublicHost(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  if (ipaddr.isValid(host)) return ipaddr.process(host).range() === 'unicast'
  const named = host.includes('.') && !host.startsWith('.')
  return named && !PRIVATE_SUFFIXES.some((suffix) => host.endsWith(`.${suffix}`))
}
