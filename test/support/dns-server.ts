import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { isIPv4 } from 'node:net'

/** What a name server says of a name: an address, NODATA, NXDOMAIN, or nothing at all (SILENCE). */
export type DnsAnswer = string

/** A real name server that answers as a test says. */
export interface DnsServer extends AsyncDisposable {
  /** Where to ask: address and port. */
  readonly address: string
  /** What has been asked: names with their types. */
  readonly asked: string[]
  answer(name: string, type: 'A' | 'AAAA'): DnsAnswer
}

export async function startDnsServer(answer: DnsServer['answer']): Promise<DnsServer> {
  const socket = createSocket('udp4')
  socket.on('message', (query, { port, address }) => {
    const { name, type, end } = parseQuestion(query)
    server.asked.push(`${name} ${type}`)
    const said = server.answer(name, type)
    if (said === 'SILENCE') return
    const record = said.startsWith('N') ? Buffer.alloc(0) : toRecord(said)
    const header = Buffer.from(query.subarray(0, 12))
    header.writeUInt16BE(said === 'NXDOMAIN' ? 0x8183 : 0x8180, 2)
    header.writeUInt16BE(record.length > 0 ? 1 : 0, 6)
    header.writeUInt32BE(0, 8)
    socket.send(Buffer.concat([header, query.subarray(12, end), record]), port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const server: DnsServer = {
    address: `127.0.0.1:${socket.address().port}`,
    asked: [],
    answer,
    async [Symbol.asyncDispose]() {
      socket.close()
      await once(socket, 'close')
    },
  }
  return server
}

/** The question of a query (RFC 1035 §4.1.2): labels, type and class. */
function parseQuestion(query: Buffer): { name: string; type: 'A' | 'AAAA'; end: number } {
  const labels: string[] = []
  let at = 12
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  const type = query.readUInt16BE(at + 1) === 1 ? 'A' : 'AAAA'
  return { name: labels.join('.').toLowerCase(), type, end: at + 5 }
}

/** A record of the name in the question, which may not be kept. */
function toRecord(address: string): Buffer {
  const data = isIPv4(address)
    ? Buffer.from(address.split('.').map(Number))
    : Buffer.from(address.split(':').flatMap((word) => [parseInt(word, 16) >> 8, parseInt(word, 16) & 255]))
  const head = Buffer.from([0xc0, 12, 0, isIPv4(address) ? 1 : 28, 0, 1, 0, 0, 0, 0, 0, data.length])
  return Buffer.concat([head, data])
}
