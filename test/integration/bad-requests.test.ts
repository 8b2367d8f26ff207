import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { WebSocket } from 'ws'
import { BODIES, BYTES, CONTENT_TYPES, DOCUMENTS, FRAMES, METHODS, PATHS } from '../support/bad-requests.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const LEAKS = /node_modules|\/src\/|\/dist\/|\.ts:|\.js:| at .*\(|sqlite|TypeError|RangeError|Cannot read/i

describe('a bad request is answered, shows nothing of our inside, and leaves the service alive', () => {
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await startGateway()
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
  })

  async function check(response: Response, fine: number[] = []) {
    const text = await response.text()
    expect(text).not.toMatch(LEAKS)
    expect(text).not.toContain('INTERNAL_SERVER_ERROR')
    const typed = response.ok && /"code":"[A-Z_]+"/.test(text)
    const refused = (response.status >= 400 && response.status < 500) || fine.includes(response.status)
    expect({
      status: response.status,
      good: refused || typed,
      text: refused || typed ? '' : text,
    }).toMatchObject({ good: true })
  }
  const post = (body: string, headers: Record<string, string> = JSON_TYPE) =>
    fetch(`${gateway.url}/graphql`, { method: 'POST', headers, body })

  test(`there are at least 200 of them here`, () => {
    const all = [DOCUMENTS, DOCUMENTS, BODIES, CONTENT_TYPES, METHODS, PATHS, FRAMES, BYTES]
    expect(all.reduce((sum, list) => sum + list.length, 0)).toBeGreaterThanOrEqual(200)
  })

  test.each(DOCUMENTS)('document over HTTP: %j', async (query) => {
    // A subscription's own __typename is valid; over HTTP it is refused as a subscription.
    await check(await post(JSON.stringify({ query })))
  })

  test.each(DOCUMENTS)('document over WebSocket: %j', async (query) => {
    const { data, errors = [] } = await gateway.run<Record<string, unknown>, never>('WebSocket', query)
    const text = JSON.stringify({ data, errors })
    expect(text).not.toMatch(LEAKS)
    expect(errors.length).toBeGreaterThan(0)
    expect(errors.length).toBeLessThanOrEqual(20)
    for (const { extensions } of errors) expect(extensions.code).not.toBe('INTERNAL_SERVER_ERROR')
  })

  test.each(BODIES)('body: %j', async (body) => {
    await check(await post(body))
  })

  test.each(CONTENT_TYPES)('content type: %s', async (type) => {
    await check(await post('{"query":"{ __typename }"}', type === '' ? {} : { 'content-type': type }))
  })

  test.each(['gzip', 'br', 'deflate'])('content encoding %s, which is not undone', async (encoding) => {
    await check(await post('{"query":"{ __typename }"', { ...JSON_TYPE, 'content-encoding': encoding }))
  })

  test.each(METHODS)('method %s', async (method) => {
    const { port } = new URL(gateway.url)
    const socket = connect(Number(port), '127.0.0.1')
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
    socket.write(
      `${method} /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
    )
    await once(socket, 'close')
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /)
    expect(answer).not.toMatch(LEAKS)
  })

  test.each(PATHS)('path %j', async (path) => {
    const response = await fetch(`${gateway.url}${path}`)
    // The vendor's API, played, refuses in an envelope of its own.
    await check(response, path.startsWith('/sandbox/api') ? [200] : [])
  })

  test.each(BYTES)('bytes: %.60j', async (bytes) => {
    const { port } = new URL(gateway.url)
    const socket = connect(Number(port), '127.0.0.1')
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
    socket.end(bytes)
    await once(socket, 'close')
    expect(answer).toMatch(/^(HTTP\/1\.1 4\d\d |$)/)
    expect(answer).not.toMatch(LEAKS)
  })

  test.each(FRAMES)('frame: %j', async (frame) => {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/graphql`, ['graphql-transport-ws'])
    await once(socket, 'open')
    socket.send('{"type":"connection_init"}')
    await once(socket, 'message')
    const answers: string[] = []
    socket.on('message', (data) => answers.push((data as Buffer).toString()))
    const closed = once(socket, 'close').then(([code]) => code as number)
    socket.send(frame)
    // A frame that is nothing to the protocol is followed by one that is.
    socket.send('{"type":"ping"}')
    const code = await Promise.race([closed, once(socket, 'message').then(() => 'answered' as const)])
    expect(['answered', 1009, 4400, 4409, 4429]).toContain(code)
    expect(answers.join()).not.toMatch(LEAKS)
    socket.terminate()
  })

  test('all the while, what nobody foresaw did not happen', () => {
    expect(gateway.log()).not.toContain('unexpectedly')
  })
})

test('crowds that never finish a request, or never say who they are, keep nobody waiting', async () => {
  await using gateway = await startGateway()
  const { port } = new URL(gateway.url)
  const crowd = await Promise.all(
    Array.from({ length: 1_200 }, async (_, n) => {
      const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined)
      await once(socket, 'connect')
      if (n < 200)
        socket.write(
          'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{',
        )
      else
        socket.write(
          'GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n',
        )
      return socket
    }),
  )
  const { data } = await gateway.run('HTTP', '{ __typename }')
  expect(data).toEqual({ __typename: 'Query' })
  for (const socket of crowd) socket.destroy()
})
