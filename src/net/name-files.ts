import { readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import type { LookupAddress } from 'node:dns'

/** The contents of resolv.conf(5). */
interface ResolvConf {
  readonly servers: readonly string[]
  /** Domains that are appended to a name. */
  readonly search: readonly string[]
  /** A name with fewer dots is first resolved with the search domains. */
  readonly ndots: number
}

/** The addresses of each name in a hosts file. */
type Hosts = ReadonlyMap<string, readonly LookupAddress[]>

/**
 * Returns a function that returns the parsed file, and parses it again when it has changed. A missing file
 * counts as empty.
 */
export function createFileReader<T>(path: string, parse: (text: string) => T): () => T {
  let seen = ''
  let value = parse('')
  return () => {
    const stat = statSync(path, { throwIfNoEntry: false })
    const current = stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeMs}`
    if (current !== seen) {
      value = parse(stat === undefined ? '' : readFileSync(path, 'utf8'))
      seen = current
    }
    return value
  }
}

export function parseResolvConf(text: string): ResolvConf {
  const lines = toLines(text, /[#;].*/)
  const valuesOf = (...keywords: string[]) => lines.filter(([keyword = '']) => keywords.includes(keyword))
  const options = valuesOf('options').flat()
  const ndots = options.flatMap((option) => /^ndots:(\d+)$/.exec(option)?.[1] ?? []).at(-1) ?? '1'
  return {
    servers: valuesOf('nameserver').flatMap(([, server = '']) => (isServer(server) ? [server] : [])),
    // The last `search` or `domain` line applies.
    search: (valuesOf('search', 'domain').at(-1) ?? []).slice(1).map((domain) => domain.replace(/\.$/, '')),
    ndots: Math.min(Number(ndots), 15),
  }
}

export function parseHosts(text: string): Hosts {
  const hosts = new Map<string, LookupAddress[]>()
  for (const [address = '', ...names] of toLines(text, /#.*/)) {
    const family = isIP(address)
    if (family === 0) continue
    for (const name of names.map((each) => each.toLowerCase()))
      hosts.set(name, [...(hosts.get(name) ?? []), { address, family }])
  }
  return hosts
}

function toLines(text: string, comment: RegExp): string[][] {
  return text.split('\n').map((line) =>
    line
      .replace(comment, '')
      .split(/\s+/)
      .filter((word) => word !== ''),
  )
}

/** An address, or `[address]:port`, which c-ares accepts, too. */
function isServer(text: string): boolean {
  return isIP(/^\[(.+)\]:\d+$/.exec(text)?.[1] ?? text) !== 0
}
