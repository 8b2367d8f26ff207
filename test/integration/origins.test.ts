import { expect, test } from '@jest/globals'
import { WebSocket } from 'ws'
import { startGateway, type Gateway } from '../support/gateway.ts'

/** The status of a WebSocket handshake from a page of this origin. */
function handshake({ url }: Gateway, origin: string, headers: Record<string, string> = {}): Promise<number> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, ['graphql-transport-ws'], {
    origin,
    headers,
  })
  return new Promise((resolve) => {
    socket.on('open', () => {
      socket.terminate()
      resolve(101)
    })
    socket.on('error', ({ message }) => resolve(Number(/\d{3}/.exec(message)?.[0])))
  })
}

const APPS = [
  'capacitor://localhost',
  'ionic://localhost',
  'tauri://localhost',
  'chrome-extension://abcdefgh',
]

test.each([...APPS, 'https://app.example.com'])(
  'a listed origin may call the service and open sockets: %s',
  async (origin) => {
    await using gateway = await startGateway({
      CORS_ORIGINS: [...APPS, 'HTTPS://App.Example.com:443'].join(', '),
    })
    expect(await handshake(gateway, origin)).toBe(101)
    const { headers } = await fetch(`${gateway.url}/livez`, { headers: { origin } })
    expect(headers.get('access-control-allow-origin')).toBe(origin)
    expect(gateway.log()).not.toContain('CORS_ORIGINS')
  },
)

test.each([
  'null',
  'capacitor://evil',
  'https://app.example.com.evil.example',
  'http://app.example.com',
  'nonsense',
])('an origin that is not listed may not, and the log says so once: %s', async (origin) => {
  await using gateway = await startGateway({ CORS_ORIGINS: `capacitor://localhost, https://app.example.com` })
  expect(await handshake(gateway, origin)).toBe(403)
  for (const _ of [1, 2]) {
    const { headers } = await fetch(`${gateway.url}/livez`, { headers: { origin } })
    expect(headers.get('access-control-allow-origin')).toBeNull()
  }
  const lines = gateway
    .log()
    .split('\n')
    .filter((line) => line.includes('CORS_ORIGINS'))
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    expect.objectContaining({ level: 40, origin, msg: expect.stringContaining('add it to CORS_ORIGINS') }),
  ])
})

const LOOPBACK = ['http://localhost:5173', 'http://127.0.0.1:3000', 'http://[::1]:8080', 'https://localhost']

test.each(LOOPBACK)(
  'in sandbox mode a page on a loopback origin may, without settings: %s',
  async (origin) => {
    await using gateway = await startGateway()
    expect(await handshake(gateway, origin)).toBe(101)
    const names =
      'authorization,content-type,last-event-id,x-correlation-id,traceparent,apollo-require-preflight'
    const headers = {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': names,
    }
    const preflight = await fetch(`${gateway.url}/graphql`, { method: 'OPTIONS', headers })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-origin')).toBe(origin)
    expect(preflight.headers.get('access-control-allow-headers')).toBe(names)
    const answer = await fetch(`${gateway.url}/livez`, { headers: { origin } })
    expect(answer.headers.get('access-control-allow-origin')).toBe(origin)
    expect(answer.headers.get('vary')).toContain('Origin')
    expect(answer.headers.get('access-control-allow-credentials')).toBeNull()
  },
)

test.each(LOOPBACK)('in live mode a page on a loopback origin may not: %s', async (origin) => {
  await using gateway = await startGateway({ UPSTREAM_API_KEY: 'key', AUTH_JWT_SECRET: 's'.repeat(32) })
  expect(await handshake(gateway, origin)).toBe(403)
  const { headers } = await fetch(`${gateway.url}/livez`, { headers: { origin } })
  expect(headers.get('access-control-allow-origin')).toBeNull()
})

test.each([
  'http://localhost.evil.example',
  'http://localhost:80@evil.example',
  'http://127.0.0.1.evil.example:4000',
  'http://evil.example',
  'file://localhost',
  'null',
])('an origin that only resembles a loopback one may not: %s', async (origin) => {
  await using gateway = await startGateway()
  expect(await handshake(gateway, origin)).toBe(403)
  const { headers } = await fetch(`${gateway.url}/livez`, { headers: { origin } })
  expect(headers.get('access-control-allow-origin')).toBeNull()
})

test('our own pages may, also where a proxy spells out the default port', async () => {
  await using gateway = await startGateway({ AUTH_JWT_SECRET: 's'.repeat(32) })
  expect(await handshake(gateway, 'https://gateway.example.com', { host: 'gateway.example.com:443' })).toBe(
    101,
  )
  expect(await handshake(gateway, 'https://gateway.example.com', { host: 'gateway.example.com' })).toBe(101)
  expect(await handshake(gateway, 'https://gateway.example.com', { host: 'gateway.example.com:80' })).toBe(
    403,
  )
})

test('any number of refused origins makes a bounded number of log lines', async () => {
  await using gateway = await startGateway()
  for (let n = 0; n < 150; n += 1)
    await fetch(`${gateway.url}/livez`, { headers: { origin: `https://${'x'.repeat(300 - n)}${n}.example` } })
  for (let n = 0; n < 150; n += 1)
    await fetch(`${gateway.url}/livez`, { headers: { origin: `https://x${n}.example` } })
  const lines = gateway
    .log()
    .split('\n')
    .filter((line) => /is refused|were refused/.test(line))
  expect(lines).toHaveLength(101)
  expect(Math.max(...lines.map(({ length }) => length))).toBeLessThan(600)
})
