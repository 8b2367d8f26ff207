import ipaddr from 'ipaddr.js'
import type { Resolve } from './lookup.ts'

/** The IPv6 space for global unicast (RFC 4291 §2.4). All other addresses are mapped, local or reserved. */
const GLOBAL_IPV6 = ipaddr.IPv6.parseCIDR('2000::/3')
/** NAT64's prefix (RFC 6052): the last four bytes are the IPv4 address of the target. */
const NAT64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96')
/** Azure's metadata service and agent: a public address that each virtual machine uses privately. */
const AZURE_PLATFORM = '168.63.129.16'

/**
 * Whether an IP address is on the public internet. False for addresses that are private, local or reserved,
 * for those that lead to such addresses indirectly, and for text that is not an IP address.
 */
export function isPublicAddress(text: string): boolean {
  return ipaddr.isValid(text) && isPublic(ipaddr.process(text))
}

function isPublic(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  if (address instanceof ipaddr.IPv4)
    return address.range() === 'unicast' && address.toString() !== AZURE_PLATFORM
  if (address.match(NAT64)) return isPublic(new ipaddr.IPv4(address.toByteArray().slice(12)))
  return address.match(GLOBAL_IPV6) && address.range() === 'unicast'
}

/** The host has no public address. */
export class PrivateAddressError extends Error {
  override name = 'PrivateAddressError'
  readonly code = 'ERR_PRIVATE_ADDRESS'

  constructor(host: string, addresses: readonly string[]) {
    super(`${addresses.join(', ')} (${host}) is not allowed: it is not a public address`)
  }
}

/**
 * Accepts public addresses only. Agents resolve names for each connection, so this also stops DNS rebinding.
 */
export function onlyPublic(resolve: Resolve): Resolve {
  return async (hostname) => {
    const found = await resolve(hostname)
    const allowed = found.filter(({ address }) => isPublicAddress(address))
    if (allowed.length > 0) return allowed
    throw new PrivateAddressError(
      hostname,
      found.map(({ address }) => address),
    )
  }
}
