import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { AbstractConnector } from 'ioredis'
import { openResolver, toLookup, type ResolverOptions } from '../net/lookup.ts'

/** How long a connection may take to close before it is destroyed. */
const DISCONNECT_TIMEOUT_MS = 2_000

/**
 * Creates the `Connector` that ioredis uses for this URL. It resolves names separately, so that a host name
 * of Redis that hangs in DNS does not delay the lookups of PostgreSQL.
 */
export function createConnector(url: string, names: ResolverOptions) {
  const { protocol, hostname, port } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '') || 'localhost'
  const target = { host, port: Number(port || 6_379), lookup: toLookup(openResolver(names)) }
  return class extends AbstractConnector {
    constructor() {
      super(DISCONNECT_TIMEOUT_MS)
    }

    override connect(): Promise<Socket> {
      this.connecting = true
      this.stream = protocol === 'rediss:' ? connectTls(target) : connect(target)
      this.stream.once('error', (error: Error) => (this.firstError = error))
      return Promise.resolve(this.stream)
    }
  }
}
