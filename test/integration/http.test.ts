import { once } from 'node:events'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { SignJWT } from 'jose'
import { startGateway, type Gateway } from '../support/gateway.ts'

const SECRET = 'a secret of more than thirty-two bytes'

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
    ['no Host', 'GET /graphql HTTP/1.0\r\n\r\n'],
    ['two Hosts', 'GET /livez HTTP/1.1\r\nHost: localhost\r\nhost: localhost\r\nConnection: close\r\n\r\n'],
    ['no Host in HTTP/1.1', 'GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n'],
    ['an empty Host', 'GET /graphql HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n'],
    ['no HTTP at all', 'nonsense\r\n\r\n'],
  ])('%s is answered 400', async (_name, bytes) => {
    expect(await raw(gateway.url, bytes)).toMatch(/^HTTP\/1\.1 400 [^]*"code":"BAD_REQUEST"/)
  })

  test.each(['/livez', '/readyz', '/metrics'])('%s needs no Host over HTTP/1.0', async (path) => {
    for (const head of ['', 'Host:\r\n'])
      expect(await raw(gateway.url, `GET ${path} HTTP/1.0\r\n${head}\r\n`)).toMatch(/^HTTP\/1\.1 200 /)
  })

  test.each([
    ...[
      'u:p@h',
      'u@h',
      'a/b',
      'x?y',
      'x#y',
      'a b',
      'a\tb',
      'a\\b',
      'h:port',
      'h:99999',
      '[::1',
      '%61',
      'a,b',
    ],
    ...['http://h', '<h>', 'h:80:80', '[u@h]', 'h|', '\xe9'],
  ])('the Host %j is answered 400, for requests and upgrades', async (host) => {
    for (const path of ['/livez', '/graphql'])
      expect(
        await raw(gateway.url, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`),
      ).toMatch(/^HTTP\/1\.1 400 /)
    const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n'
    const answer = await raw(gateway.url, `GET /graphql HTTP/1.1\r\nHost: ${host}\r\n${upgrade}`)
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
  })

  test.each(['example.com', 'my_host.internal:8080', 'EXAMPLE.com.', '10.0.0.1:80', '[::1]:4000', 'h:'])(
    'the Host %j is served',
    async (host) => {
      await using open = await startGateway({ AUTH_JWT_SECRET: SECRET })
      const bytes = `GET /livez HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
      expect(await raw(open.url, bytes)).toMatch(/^HTTP\/1\.1 200 /)
    },
  )

  const TYPED = { query: '{ __typename }' }
  test.each([
    ...['utf-16', 'utf-16le', 'utf-7', 'iso-8859-1', 'windows-1252', '"utf-16"', 'nonsense', '""'],
    ...['utf-8; charset=utf-16', '"utf-16', 'utf-32; x=y'],
  ])('a body in charset=%s is answered 415', async (charset) => {
    for (const path of ['/graphql', '/graphql/stream']) {
      const answer = await request(path, {
        method: 'POST',
        headers: { accept: '*/*, text/event-stream', 'content-type': `application/json; charset=${charset}` },
        body: JSON.stringify(TYPED),
      })
      expect(answer).toMatchObject({ status: 415, text: expect.stringContaining('UNSUPPORTED_MEDIA_TYPE') })
      expect(answer.text).toMatch(/charset .* UTF-8/)
    }
  })

  test.each(['utf-8', 'UTF-8', '"UTF-8"', 'utf8', 'us-ascii', '"US-ASCII"'])(
    'a body in charset=%s is read',
    async (charset) => {
      for (const path of ['/graphql', '/graphql/stream']) {
        const answer = await request(path, {
          method: 'POST',
          headers: {
            accept: '*/*, Text/Event-Stream',
            'content-type': `Application/JSON;Charset=${charset}`,
          },
          body: JSON.stringify(TYPED),
        })
        expect(answer).toMatchObject({ status: 200, text: expect.stringContaining('Query') })
      }
    },
  )

  test.each(['gzip', 'deflate', 'br', 'zstd', 'identity, GZIP'])(
    'a body in %s is answered 415',
    async (coding) => {
      for (const path of ['/graphql', '/graphql/stream']) {
        const headers = { ...JSON_TYPE, accept: '*/*, text/event-stream', 'content-encoding': coding }
        const answer = await request(path, { method: 'POST', headers, body: gzipSync(JSON.stringify(TYPED)) })
        expect(answer).toMatchObject({ status: 415, text: expect.stringContaining('UNSUPPORTED_MEDIA_TYPE') })
        expect(answer.text).toContain('without Content-Encoding')
      }
      const plain = { ...JSON_TYPE, 'content-encoding': 'Identity' }
      expect((await query(TYPED, { headers: plain })).status).toBe(200)
    },
  )

  test('a body in a transfer coding other than chunked is answered 415', async () => {
    const head =
      'POST /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n'
    const body = JSON.stringify(TYPED)
    const chunks = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
    const send = (coding: string) => raw(gateway.url, `${head}Transfer-Encoding: ${coding}\r\n\r\n${chunks}`)
    expect(await send('gzip, chunked')).toMatch(/^HTTP\/1\.1 415 /)
    expect(await send('Chunked')).toMatch(/^HTTP\/1\.1 200 /)
  })

  test.each(['\xe9', '\xff\xfe', '\xc0\xaf', '\xed\xa0\x80', '\xf0\x9f\x8c'])(
    'a body with the bytes %j, which are not UTF-8, is answered 400',
    async (bytes) => {
      for (const path of ['/graphql', '/graphql/stream']) {
        const headers = { ...JSON_TYPE, accept: '*/*, text/event-stream' }
        const body = Buffer.from(`{"query":"{ __typename }","operationName":"${bytes}"}`, 'latin1')
        const answer = await request(path, { method: 'POST', headers, body })
        expect(answer).toMatchObject({ status: 400, text: expect.stringContaining('not valid UTF-8') })
      }
    },
  )

  test('a callback is read as JSON whatever its headers say of the body', async () => {
    const headers = { 'content-type': 'text/plain; charset=utf-16', 'content-encoding': 'gzip' }
    const answer = await request('/callbacks/upscale/x/y', { method: 'POST', headers, body: '{}' })
    expect(answer).toMatchObject({ status: 404, text: expect.stringContaining('There is no such task') })
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

describe('a refusal comes in the media type that the client prefers', () => {
  const JSON_ONLY = 'application/json; charset=utf-8'
  const GRAPHQL = 'application/graphql-response+json; charset=utf-8'
  const APOLLO_CLIENT = 'application/graphql-response+json,application/json;q=0.9'
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await startGateway({ AUTH_JWT_SECRET: SECRET })
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
  })

  const refuse = async (path: string, accept: string, headers: Record<string, string> = {}, body = '{}') => {
    const all = { 'content-type': 'application/json', accept, ...headers }
    const response = await fetch(`${gateway.url}${path}`, { method: 'POST', headers: all, body })
    const { errors } = (await response.json()) as { errors: { extensions: { code: string } }[] }
    const { status } = response
    return { status, type: response.headers.get('content-type'), code: errors[0]?.extensions.code }
  }

  test.each([
    [APOLLO_CLIENT, GRAPHQL],
    ['application/graphql-response+json', GRAPHQL],
    ['Application/GraphQL-Response+JSON;charset=utf-8, application/json', GRAPHQL],
    ['application/graphql-response+json;q=0.8, application/json;q=0.9', JSON_ONLY],
    ['application/json, application/graphql-response+json', JSON_ONLY],
    ['application/graphql-response+json;q=0, */*', JSON_ONLY],
    ['application/json', JSON_ONLY],
    ['*/*', JSON_ONLY],
    ['text/html', JSON_ONLY],
  ])('Accept: %s', async (accept, type) => {
    expect(await refuse('/graphql', accept)).toEqual({ status: 401, type, code: 'UNAUTHENTICATED' })
  })

  test('whatever the reason; and other routes answer in JSON', async () => {
    const token = new SignJWT({ sub: 'ada' }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('10m')
    const authorization = `Bearer ${await token.sign(new TextEncoder().encode(SECRET))}`
    const send = (headers: Record<string, string>, body?: string) =>
      refuse('/graphql', APOLLO_CLIENT, { authorization, ...headers }, body)
    expect(await send({ 'content-type': 'text/csv' })).toMatchObject({ status: 415, type: GRAPHQL })
    expect(await send({ 'content-encoding': 'gzip' })).toMatchObject({ status: 415, type: GRAPHQL })
    expect(await send({}, '{')).toMatchObject({ status: 400, type: GRAPHQL })
    const tooLarge = await send({}, JSON.stringify({ query: ' '.repeat(70_000) }))
    expect(tooLarge).toEqual({ status: 413, type: GRAPHQL, code: 'PAYLOAD_TOO_LARGE' })
    const stream = await refuse('/graphql/stream', APOLLO_CLIENT)
    expect(stream).toMatchObject({ status: 406, type: GRAPHQL })
    expect(await refuse('/nothing', APOLLO_CLIENT)).toMatchObject({ status: 404, type: JSON_ONLY })
  })

  test('also for a foreign Host', async () => {
    await using local = await startGateway()
    const head = `Host: evil.example\r\nAccept: ${APOLLO_CLIENT}\r\nConnection: close\r\n\r\n`
    const answer = await raw(local.url, `GET /graphql HTTP/1.1\r\n${head}`)
    expect(answer).toMatch(/^HTTP\/1\.1 403 [^]*content-type: application\/graphql-response\+json/)
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
