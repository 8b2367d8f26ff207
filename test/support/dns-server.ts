import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { LookupFunction } from 'node:net'
import { createLookup } from '../../src/delivery/lookup.ts'

/** A real name server that gives every name the address a test says, and the way to ask it. */
export interface DnsServer extends AsyncDisposable {
  /** The IPv4 address that every name has from now on. */
  address: string
  /** As `dns.lookup`, by this server. */
  readonly lookup: LookupFunction
}

export async function startDnsServer(address: string): Promise<DnsServer> {
  const socket = createSocket('udp4')
  socket.on('message', (query, { port, address: client }) => {
    // The question ends with the name's empty label, type and class (RFC 1035 §4.1.2).
    const end = query.indexOf(0, 12) + 5
    const isA = query.readUInt16BE(end - 4) === 1
    const header = Buffer.from(query.subarray(0, 12))
    header.writeUInt16BE(0x8180, 2)
    header.writeUInt16BE(isA ? 1 : 0, 6)
    header.writeUInt32BE(0, 8)
    const record = Buffer.from([
      0xc0,
      12,
      0,
      1,
      0,
      1,
      0,
      0,
      0,
      0,
      0,
      4,
      ...server.address.split('.').map(Number),
    ])
    socket.send(
      Buffer.concat([header, query.subarray(12, end), isA ? record : Buffer.alloc(0)]),
      port,
      client,
    )
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const server: DnsServer = {
    address,
    lookup: createLookup([`127.0.0.1:${socket.address().port}`]),
    async [Symbol.asyncDispose]() {
      socket.close()
      await once(socket, 'close')
    },
  }
  return server
}
