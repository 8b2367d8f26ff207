/**
 * How long the service takes to refuse bad requests: `npm run bench:parts`. The bar is 100 ms each, and a
 * second for a good one while 1,200 connections never finish theirs.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { BODIES, CONTENT_TYPES, DOCUMENTS } from '../test/support/bad-requests.ts'
import { startGateway } from '../test/support/gateway.ts'

const REFUSAL_BAR_MS = 100
const CROWD_BAR_MS = 1_000

await using gateway = await startGateway({ LOG_LEVEL: 'warn' })
const { port } = new URL(gateway.url)

const post = async (body: string, type = 'application/json') => {
  const headers: Record<string, string> = type === '' ? {} : { 'content-type': type }
  const response = await fetch(`${gateway.url}/graphql`, { method: 'POST', headers, body })
  await response.text()
}
const cases: (readonly [name: string, send: () => Promise<unknown>])[] = [
  ...DOCUMENTS.map((query) => [`HTTP ${query}`, () => post(JSON.stringify({ query }))] as const),
  ...DOCUMENTS.map((query) => [`WebSocket ${query}`, () => gateway.run('WebSocket', query)] as const),
  ...BODIES.map((body) => [`body ${body}`, () => post(body)] as const),
  ...CONTENT_TYPES.map((type) => [`content type ${type}`, () => post('{"query":"{ a }"}', type)] as const),
]

async function time(send: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await send()
  return performance.now() - startedAt
}

function report(name: string, ms: number, barMs: number): void {
  const missed = ms > barMs
  if (missed) process.exitCode = 1
  console.log(`${name.padEnd(58)} ${ms.toFixed(1).padStart(8)} ms${missed ? `  MISSES ${barMs} ms` : ''}`)
}

await post('{"query":"{ __typename }"}')
const timed: { name: string; ms: number }[] = []
for (const [name, send] of cases) timed.push({ name, ms: await time(send) })
timed.sort((a, b) => a.ms - b.ms)
const at = (share: number) => timed[Math.ceil(share * timed.length) - 1]?.ms ?? 0
console.log(`${timed.length} bad requests, one after the other`)
report('  half of them within', at(0.5), REFUSAL_BAR_MS)
report('  99 % within', at(0.99), REFUSAL_BAR_MS)
report('  the slowest', at(1), REFUSAL_BAR_MS)
for (const { name, ms } of timed.slice(-3)) console.log(`    ${ms.toFixed(1)} ms  ${name.slice(0, 60)}`)

const upgrade = `GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n`
const slow = `POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{`
const crowd = await Promise.all(
  Array.from({ length: 1_200 }, async (_, n) => {
    const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined)
    await once(socket, 'connect')
    socket.write(n < 200 ? slow : upgrade)
    return socket
  }),
)
report(
  'a good request beside 1,000 silent sockets and 200 slow bodies',
  await time(() => post('{"query":"{ __typename }"}')),
  CROWD_BAR_MS,
)
for (const socket of crowd) socket.destroy()
