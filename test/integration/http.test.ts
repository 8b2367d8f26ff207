import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { startGateway, type Gateway } from '../support/gateway.ts'

/** Sends bytes as they are and says what comes back until the server closes. */
async function raw(url: string, bytes: string): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let answer = ''
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
  socket.write(bytes)
  await once(socket, 'close')
  return answer
}

describe('the HTTP edge', () => {
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await startGateway()
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
  })

  const JSON_TYPE = { 'content-type': 'application/json' }
  const request = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`${gateway.url}${path}`, init)
    const text = await response.text()
    return { status: response.status, type: response.headers.get('content-type') ?? '', text }
  }
  const query = (body: unknown, init: RequestInit = {}) =>
    request('/graphql', { method: 'POST', headers: JSON_TYPE, body: JSON.stringify(body), ...init })

  test('is alive and ready', async () => {
    for (const path of ['/livez', '/readyz'])
      expect(await request(path)).toMatchObject({ status: 200, text: '{"status":"ok"}' })
  })

  test('sends the security headers with every answer, and its own policy with the page', async () => {
    const paths = ['/livez', '/nothing', '/graphql?query={__typename}']
    for (const path of paths) {
      const { headers } = await fetch(`${gateway.url}${path}`)
      expect(Object.fromEntries(headers)).toMatchObject({
        'content-security-policy': "default-src 'none';frame-ancestors 'none'",
        'strict-transport-security': 'max-age=31536000; includeSubDomains',
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'SAMEORIGIN',
        'referrer-policy': 'no-referrer',
        'cross-origin-resource-policy': 'cross-origin',
      })
    }
    const page = await fetch(`${gateway.url}/graphql`, { headers: { accept: 'text/html' } })
    expect(page.headers.get('content-security-policy')).toContain("script-src 'self'")
  })

  test('runs queries by GET where a preflight guards them, and no mutation', async () => {
    const path = (document: string) => `/graphql?query=${encodeURIComponent(document)}`
    const headers = { 'apollo-require-preflight': 'yes' }
    const answered = await request(path('{ __typename }'), { headers })
    expect(answered).toMatchObject({ status: 200, text: expect.stringContaining('{"__typename":"Query"}') })
    expect((await request(path('{ __typename }'))).status).toBe(400)
    const mutation = path('mutation { upscaleImage(input: {taskId: "x", imageIndex: 0}) { replayed } }')
    expect((await request(mutation, { headers })).status).toBe(405)
  })

  test.each<[string, number, string, () => ReturnType<typeof request>]>([
    ['a path that does not exist', 404, 'NOT_FOUND', () => request('/nothing')],
    [
      'a body that is not JSON',
      400,
      'BAD_REQUEST',
      () => query(0, { body: '{"query": "secret-in-a-bad-body' }),
    ],
    ['an empty body', 400, 'BAD_REQUEST', () => query(0, { body: '' })],
    ['a body without a query', 400, 'BAD_REQUEST', () => query({})],
    ['a batch', 400, 'BAD_REQUEST', () => query([{ query: '{ __typename }' }])],
    ['a body over 64 KiB', 413, 'PAYLOAD_TOO_LARGE', () => query({ query: `# ${'x'.repeat(65_536)}` })],
    [
      'a body of another type',
      415,
      'UNSUPPORTED_MEDIA_TYPE',
      () => query(0, { headers: { 'content-type': 'text/csv' } }),
    ],
    [
      'a subscription',
      400,
      'BAD_REQUEST',
      () => query({ query: 'subscription { taskUpdated(id: "x") { id } }' }),
    ],
    ['a syntax error', 400, 'GRAPHQL_PARSE_FAILED', () => query({ query: '{' })],
    ['an unknown field', 400, 'GRAPHQL_VALIDATION_FAILED', () => query({ query: '{ nothing }' })],
    ['a URL that cannot be decoded', 400, 'BAD_REQUEST', () => request('/%zz')],
  ])('%s is answered %i as a JSON error', async (_name, status, code, send) => {
    const answer = await send()
    expect(answer).toMatchObject({ status, type: expect.stringContaining('json') })
    const [error] = (JSON.parse(answer.text) as { errors: object[] }).errors
    expect(error).toMatchObject({
      message: expect.any(String),
      extensions: { code, correlationId: expect.any(String) },
    })
    expect(answer.text).not.toMatch(/node_modules|\.ts|stack/)
  })

  test('never logs a body that it could not read', () => {
    expect(gateway.log()).not.toContain('secret-in-a-bad-body')
  })

  test('a wish to upgrade to anything else is ignored, and the request is served', async () => {
    const head =
      'Host: localhost\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}'
    expect(await raw(gateway.url, `GET /livez HTTP/1.1\r\n${head}`)).toMatch(/^HTTP\/1\.1 200 /)
    const answer = await raw(gateway.url, `POST /callbacks/upscale/some-task/some-token HTTP/1.1\r\n${head}`)
    expect(answer).toMatch(/^HTTP\/1\.1 404 [^]*"There is no such task/)
  })

  test('a client that resets its connection in the middle of an upgrade harms nobody', async () => {
    const { hostname, port } = new URL(gateway.url)
    for (let n = 0; n < 50; n += 1) {
      const socket = connect(Number(port), hostname).on('error', () => undefined)
      await once(socket, 'connect')
      socket.write(
        'GET /other HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      )
      socket.resetAndDestroy()
    }
    expect(await request('/livez')).toMatchObject({ status: 200 })
  })

  test.each([
    ['a Host that is no host', 'GET /livez HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n'],
    ['no Host', 'GET /livez HTTP/1.0\r\n\r\n'],
    ['no Host in HTTP/1.1', 'GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n'],
    ['no HTTP at all', 'nonsense\r\n\r\n'],
  ])('%s is answered 400', async (_name, bytes) => {
    expect(await raw(gateway.url, bytes)).toMatch(/^HTTP\/1\.1 400 [^]*"code":"BAD_REQUEST"/)
  })

  test('shows GraphiQL to a browser, made of nothing but our own page', async () => {
    const { status, type, text } = await request('/graphql', { headers: { accept: 'text/html,*/*' } })
    expect({ status, type }).toEqual({ status: 200, type: 'text/html; charset=utf-8' })
    expect(text).toContain('YogaGraphiQL.renderYogaGraphiQL')
    expect(text).not.toMatch(/<(script|link)[^>]+(src|href)="https?:/)
  })

  test('shows no GraphiQL when it is off', async () => {
    await using plain = await startGateway({ GRAPHIQL: 'off' })
    const response = await fetch(`${plain.url}/graphql`, { headers: { accept: 'text/html' } })
    expect(response.headers.get('content-type')).toContain('json')
    expect(response.status).toBe(400)
  })
})

test('is not ready when the store does not answer, though alive; callbacks are asked to come again', async () => {
  await using gateway = await startGateway()
  await gateway.breakStore()
  expect((await fetch(`${gateway.url}/readyz`)).status).toBe(503)
  expect((await fetch(`${gateway.url}/livez`)).status).toBe(200)
  const body = JSON.stringify({ code: 200, data: { taskId: 'x', resultUrls: ['https://example.com/x.png'] } })
  const answer = await fetch(`${gateway.url}/callbacks/upscale/some-task/some-token`, {
    method: 'POST',
    body,
  })
  expect(answer.status).toBe(503)
  expect(await answer.text()).not.toMatch(/sqlite|table/)
})
