import { NODATA, NOTFOUND, promises, SERVFAIL, type LookupAddress } from 'node:dns'
import { isIPv4, type LookupFunction } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { callbackify } from 'node:util'
import { createFileReader, parseHosts, parseResolvConf } from './name-files.ts'

/** The timeout of the first query to a name server, in milliseconds; the next query has twice the time. */
const TIMEOUT_MS = 2_000
const TRIES = 2
/** How long to wait for the second address family after the answer for the first. */
const GRACE_MS = 50
/** After these answers the next search domain is tried. */
const NO_ADDRESS: readonly string[] = [NOTFOUND, NODATA, SERVFAIL]

export interface ResolverOptions {
  /** Name servers to use instead of those of resolv.conf. */
  readonly servers?: readonly string[]
  readonly resolvConf?: string
  readonly hosts?: string
}

/** The IPv4 and IPv6 addresses of a name, at least one. */
export type Resolve = (hostname: string) => Promise<readonly LookupAddress[]>

/**
 * Resolves the names of one dependency: with the hosts file, then with the name servers and search domains of
 * resolv.conf. `getaddrinfo` is not used: it runs in a few threads that the whole process shares, so a
 * hanging name would block all others. Disposing cancels pending queries.
 */
export function openResolver(options: ResolverOptions = {}): Resolve & Disposable {
  const { servers = [], resolvConf = '/etc/resolv.conf', hosts = '/etc/hosts' } = options
  let resolver = new promises.Resolver()
  const readHosts = createFileReader(hosts, parseHosts)
  const readConf = createFileReader(resolvConf, (text) => {
    const conf = parseResolvConf(text)
    resolver = new promises.Resolver({ timeout: TIMEOUT_MS, tries: TRIES })
    const used = servers.length > 0 ? servers : conf.servers
    if (used.length > 0) resolver.setServers(used)
    return conf
  })
  const resolve: Resolve = async (hostname) => {
    const name = hostname.toLowerCase().replace(/\.$/, '')
    const listed = readHosts().get(name) ?? (/(^|\.)localhost$/.test(name) ? LOOPBACK : undefined)
    if (listed !== undefined) return listed
    const { search, ndots } = readConf()
    if (hostname.endsWith('.')) return query(resolver, [name])
    const searched = search.map((domain) => `${name}.${domain}`)
    return query(resolver, name.split('.').length > ndots ? [name, ...searched] : [...searched, name])
  }
  return Object.assign(resolve, { [Symbol.dispose]: () => resolver.cancel() })
}

const LOOPBACK: readonly LookupAddress[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
]

/** The addresses of the first of these names that has an address. */
async function query(resolver: promises.Resolver, names: readonly string[]): Promise<LookupAddress[]> {
  let failure: unknown
  for (const name of names) {
    try {
      return await queryBoth(resolver, name)
    } catch (error) {
      failure = error
      if (!NO_ADDRESS.includes(toCode(error))) break
    }
  }
  throw failure
}

/** Queries both address families at once. Once one has an answer, the other has a short grace period. */
async function queryBoth(resolver: promises.Resolver, name: string): Promise<LookupAddress[]> {
  const found: string[][] = []
  const queries = [resolver.resolve4(name), resolver.resolve6(name)].map(async (addresses, index) => {
    found[index] = await addresses
  })
  try {
    await Promise.any(queries)
  } catch (error) {
    const errors: unknown[] = error instanceof AggregateError ? error.errors : [error]
    throw errors.find((each) => toCode(each) !== NODATA) ?? errors[0]
  }
  await Promise.race([Promise.allSettled(queries), pause(GRACE_MS)])
  return found.flat().map((address) => ({ address, family: isIPv4(address) ? 4 : 6 }))
}

function toCode(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : ''
}

/** Converts to the form that Node's agents need. */
export function toLookup(resolve: Resolve): LookupFunction {
  const lookupAll = callbackify(resolve)
  return (hostname, { all }, callback) =>
    lookupAll(hostname, (error: NodeJS.ErrnoException | null, addresses) => {
      if (error !== null) callback(error, [])
      else if (all) callback(null, [...addresses])
      else callback(null, addresses[0]?.address ?? '', addresses[0]?.family)
    })
}
