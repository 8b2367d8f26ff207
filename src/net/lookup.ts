import { NODATA, NOTFOUND, Resolver, SERVFAIL, type LookupAddress } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import { createFileReader, parseHosts, parseResolvConf, type ResolvConf } from './name-files.ts'

/** How long a name server has for the first try, in milliseconds; the next try takes twice as long. */
const TIMEOUT_MS = 2_000
const TRIES = 2
/** How long to wait for the second address family once the first has an answer. */
const GRACE_MS = 50
/** After these answers the next search domain is tried. */
const GO_ON: readonly string[] = [NOTFOUND, NODATA, SERVFAIL]

const LOOPBACK: readonly LookupAddress[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
]

export interface LookupOptions {
  /** Name servers to use instead of those of resolv.conf. */
  readonly servers?: readonly string[]
  readonly resolvConf?: string
  readonly hosts?: string
}

/** Resolves names; disposing cancels pending lookups. */
export type Lookup = LookupFunction & Disposable

type Answer = LookupAddress[] | NodeJS.ErrnoException

/**
 * Makes the lookup of one dependency: the hosts file, then the name servers of resolv.conf with its search domains.
 * It does not use `getaddrinfo`, which runs in a few threads that the whole process shares: lookups that hang there block all
 * others. Each dependency has its own lookup, so a hanging name delays no other dependency.
 */
export function createLookup({
  servers = [],
  resolvConf = '/etc/resolv.conf',
  hosts = '/etc/hosts',
}: LookupOptions = {}): Lookup {
  const readConf = createFileReader(resolvConf, parseResolvConf)
  const readHosts = createFileReader(hosts, parseHosts)
  let conf: ResolvConf | undefined
  let resolver: Resolver | undefined
  const toResolver = (current: ResolvConf) => {
    if (resolver !== undefined && current === conf) return resolver
    conf = current
    resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES })
    const own = servers.length > 0 ? servers : current.servers
    if (own.length > 0) resolver.setServers(own)
    return resolver
  }
  const find = async (hostname: string, families: readonly (4 | 6)[]): Promise<Answer> => {
    const name = hostname.toLowerCase().replace(/\.$/, '')
    const isLocal = name === 'localhost' || name.endsWith('.localhost')
    const listed = readHosts().get(name) ?? (isLocal ? LOOPBACK : [])
    const wanted = listed.filter(({ family }) => families.some((each) => each === family))
    if (wanted.length > 0) return wanted
    const current = readConf()
    return search(toResolver(current), toCandidates(hostname, current), families)
  }
  const lookup: LookupFunction = (hostname, options, callback) => {
    const done = (answer: Answer) => {
      const [first] = Array.isArray(answer) ? answer : []
      if (!Array.isArray(answer) || first === undefined) callback(toError(answer), [])
      else if (options.all) callback(null, answer)
      else callback(null, first.address, first.family)
    }
    const family = isIP(hostname)
    if (family !== 0) done([{ address: hostname, family }])
    else find(hostname, toFamilies(options.family)).then(done, done)
  }
  return Object.assign(lookup, { [Symbol.dispose]: () => resolver?.cancel() })
}

function toFamilies(family: number | string | undefined): readonly (4 | 6)[] {
  if (family === 4 || family === 'IPv4') return [4]
  return family === 6 || family === 'IPv6' ? [6] : [4, 6]
}

/** The full names that a name may stand for, in the order in which they are tried. */
function toCandidates(hostname: string, { search, ndots }: ResolvConf): readonly string[] {
  if (hostname.endsWith('.')) return [hostname.slice(0, -1)]
  const searched = search.map((domain) => `${hostname}.${domain}`)
  return hostname.split('.').length > ndots ? [hostname, ...searched] : [...searched, hostname]
}

/** The addresses of the first candidate that has any; else the first answer other than "not found". */
async function search(resolver: Resolver, candidates: readonly string[], families: readonly (4 | 6)[]) {
  let failure: Answer = []
  for (const candidate of candidates) {
    const answer = await resolveAll(resolver, candidate, families)
    if (Array.isArray(answer) && answer.length > 0) return answer
    failure = answer
    if (!Array.isArray(answer) && !GO_ON.includes(answer.code ?? '')) break
  }
  return failure
}

/** Queries both address families at once; once one has addresses, the other gets a short grace period. */
async function resolveAll(resolver: Resolver, name: string, families: readonly (4 | 6)[]): Promise<Answer> {
  const answers: Answer[] = []
  const grace = Promise.withResolvers<void>()
  let timer: NodeJS.Timeout | undefined
  const all = families.map(async (family, index) => {
    const answer = await resolve(resolver, name, family)
    answers[index] = answer
    if (Array.isArray(answer)) timer ??= setTimeout(grace.resolve, GRACE_MS)
  })
  await Promise.race([Promise.all(all), grace.promise])
  clearTimeout(timer)
  const found = answers.filter((answer) => Array.isArray(answer)).flat()
  if (found.length > 0) return found
  const errors = answers.flatMap((answer) => (Array.isArray(answer) ? [] : [answer]))
  return errors.find(({ code }) => code !== NODATA) ?? errors[0] ?? []
}

function resolve(resolver: Resolver, name: string, family: 4 | 6): Promise<Answer> {
  return new Promise((done) => {
    const answer = (error: NodeJS.ErrnoException | null, addresses: string[]) =>
      done(error ?? addresses.map((address) => ({ address, family })))
    if (family === 4) resolver.resolve4(name, answer)
    else resolver.resolve6(name, answer)
  })
}

function toError(answer: Answer): NodeJS.ErrnoException {
  return Array.isArray(answer)
    ? Object.assign(new Error('The name has no address'), { code: NODATA })
    : answer
}
