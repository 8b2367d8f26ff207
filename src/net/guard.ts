import type { LookupFunction } from 'node:net'
import { isPublicAddress } from './public-address.ts'

/** The host has no public address. */
export class PrivateAddressError extends Error {
  override name = 'PrivateAddressError'
  readonly code = 'ERR_PRIVATE_ADDRESS'

  constructor(host: string, addresses: readonly string[]) {
    super(`${addresses.join(', ')} (${host}) is not allowed: it is not a public address`)
  }
}

/** A lookup that accepts public addresses only. It runs for each connection, so it also stops DNS rebinding. */
export function guardLookup(lookup: LookupFunction): LookupFunction {
  return (hostname, options, callback) =>
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error !== null) {
        callback(error, [])
        return
      }
      const addresses = Array.isArray(found) ? found : []
      const allowed = addresses.filter(({ address }) => isPublicAddress(address))
      const [first] = allowed
      if (first === undefined)
        callback(
          new PrivateAddressError(
            hostname,
            addresses.map(({ address }) => address),
          ),
          [],
        )
      else if (options.all) callback(null, allowed)
      else callback(null, first.address, first.family)
    })
}
