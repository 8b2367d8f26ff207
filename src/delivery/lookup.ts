import { Resolver, type LookupAddress } from 'node:dns'
import type { LookupFunction } from 'node:net'

/** A name server has this long, twice, in milliseconds. */
const TIMEOUT_MS = 2_000
const TRIES = 2

/**
 * Resolves names of callers' servers, without the system's own `getaddrinfo`: that one runs in a few threads which
 * all of the process shares, so a name server that does not answer would hold up the upstream's names, too.
 * `servers` (address:port) are asked instead of the system's.
 */
export function createLookup(servers: readonly string[] = []): LookupFunction {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES })
  if (servers.length > 0) resolver.setServers(servers)
  const resolve = (family: 4 | 6, hostname: string) =>
    new Promise<LookupAddress[] | NodeJS.ErrnoException>((done) => {
      const answer = (error: NodeJS.ErrnoException | null, addresses: string[]) =>
        done(error ?? addresses.map((address) => ({ address, family })))
      if (family === 4) resolver.resolve4(hostname, answer)
      else resolver.resolve6(hostname, answer)
    })
  return (hostname, options, callback) => {
    const wanted = ([4, 6] as const).filter((family) => !options.family || options.family === family)
    void Promise.all(wanted.map((family) => resolve(family, hostname))).then((answers) => {
      const found = answers.filter((answer) => Array.isArray(answer)).flat()
      const [first] = found
      if (first === undefined) callback(answers.find((answer) => answer instanceof Error) ?? null, [])
      else if (options.all) callback(null, found)
      else callback(null, first.address, first.family)
    })
  }
}
