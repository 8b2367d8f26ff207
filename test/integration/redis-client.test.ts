import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { expect, test } from '@jest/globals'
import { openRedisClient } from '../../src/replicas/redis-client.ts'

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
