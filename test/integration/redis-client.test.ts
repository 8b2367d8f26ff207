import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { expect, test } from '@jest/globals'
import { openRedisClient } from '../../src/replicas/redis-client.ts'
import { startDnsServer } from '../support/dns-server.ts'

test('a server that closes connections without an answer is reported with the settings to check', async () => {
  // What a server does that wants TLS, or that is not Redis.
  const server = createServer((socket) => socket.once('data', () => socket.end()))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const { promise: reason, resolve } = Promise.withResolvers<string>()
  using _client = await openRedisClient(`redis://127.0.0.1:${port}`, {}, resolve)
  expect(await reason).toBe(
    'the server closed the connection without an answer; check the port in REDIS_URL, and whether the server requires TLS (rediss://)',
  )
  server.close()
})

test('host names are resolved apart from those of other dependencies, and again for each connection', async () => {
  await using dns = await startDnsServer((_name, type) => (type === 'A' ? '127.0.0.1' : 'NODATA'))
  const server = createServer((socket) => socket.once('data', () => socket.destroy()))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const url = `redis://redis.example.com:${port}`
  // The system knows no such name.
  using _client = await openRedisClient(url, { names: { servers: [dns.address] } }, () => undefined)
  await once(server, 'connection')
  await once(server, 'connection')
  expect(dns.asked.filter((name) => name === 'redis.example.com A').length).toBeGreaterThan(1)
  server.close()
})
