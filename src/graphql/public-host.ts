import ipaddr from 'ipaddr.js'

/** All that has been given out of IPv6 for global use (RFC 4291 §2.4): the rest only maps or reserves. */
const GLOBAL_IPV6 = ipaddr.parseCIDR('2000::/3')

/** Names that never lead to the public internet (RFC 6761, RFC 6762, RFC 8375, and common private use). */
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
 * Whether a host, as WHATWG URL parsing leaves it (so that decimal, octal and hex spellings have become
 * what they mean), may be on the public internet. Names are not resolved here.
 */
export function isPublicHost(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  if (ipaddr.isValid(host)) return isPublicAddress(ipaddr.process(host))
  const labels = host.split('.')
  const named = labels.length > 1 && !labels.includes('')
  return named && !PRIVATE_SUFFIXES.some((suffix) => host.endsWith(`.${suffix}`))
}

function isPublicAddress(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  const global = address.kind() === 'ipv4' || address.match(GLOBAL_IPV6)
  return global && address.range() === 'unicast'
}
