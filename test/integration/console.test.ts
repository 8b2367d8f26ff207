import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { WebSocket } from 'ws'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { openTempDir } from '../support/temp-dir.ts'

const INDEX = '<!doctype html><script type="module" src="./assets/index-abc.js"></script>'
const SCRIPT = `console.log(${JSON.stringify('x'.repeat(5_000))})`
const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'
const LIVE = { UPSTREAM_API_KEY: 'key', AUTH_JWT_SECRET: 's'.repeat(32) }

let folder: Awaited<ReturnType<typeof openTempDir>>
let consoleFolder: string
beforeAll(async () => {
  folder = await openTempDir()
  consoleFolder = join(folder.path, 'dist')
  await mkdir(join(consoleFolder, 'assets'), { recursive: true })
  await writeFile(join(consoleFolder, 'index.html'), INDEX)
  await writeFile(join(consoleFolder, 'icon.svg'), '<svg xmlns="http://www.w3.org/2000/svg"/>')
  await writeFile(join(consoleFolder, 'assets/index-abc.js'), SCRIPT)
  await writeFile(join(folder.path, 'secret.txt'), 'secret')
})
afterAll(async () => {
  await folder[Symbol.asyncDispose]()
})

const open = (environment: Record<string, string> = {}) => startGateway(environment, { consoleFolder })

describe('the console', () => {
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await open()
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
  })
  const get = (path: string, init: RequestInit = {}) =>
    fetch(`${gateway.url}${path}`, { redirect: 'manual', ...init })

  test('is at /console/, where /console leads', async () => {
    const { status, headers } = await get('/console')
    expect(status).toBe(308)
    expect(new URL(headers.get('location') ?? '', `${gateway.url}/console`).pathname).toBe('/console/')
    const page = await get('/console/')
    expect(await page.text()).toBe(INDEX)
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
  })

  test('runs its own scripts only, and connects to its own server only', async () => {
    const { headers } = await get('/console/')
    expect(Object.fromEntries(headers)).toMatchObject({
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
    })
    const policy = headers.get('content-security-policy')?.split('; ')
    expect(policy).toEqual(
      expect.arrayContaining([
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        `img-src 'self' data: blob: https: ${gateway.url}`,
        "frame-ancestors 'none'",
      ]),
    )
  })

  test('is asked for again, unless it has not changed; files with a hash in their name are kept', async () => {
    const page = await get('/console/')
    expect(page.headers.get('cache-control')).toBe('no-cache')
    const etag = page.headers.get('etag') ?? ''
    const again = await get('/console/', { headers: { 'if-none-match': `"other", ${etag}` } })
    expect([again.status, await again.text()]).toEqual([304, ''])
    const script = await get('/console/assets/index-abc.js')
    expect(script.headers.get('cache-control')).toBe('public, max-age=31536000, immutable')
    expect(script.headers.get('content-type')).toBe('text/javascript; charset=utf-8')
  })

  test.each([
    ['gzip, deflate, br', 'br'],
    ['gzip', 'gzip'],
    ['br;q=0, gzip;q=0.5', 'gzip'],
    ['identity', null],
    ['br;q=0, *;q=0', null],
  ])('Accept-Encoding: %s is answered with the encoding %s', async (accepted, encoding) => {
    const path = '/console/assets/index-abc.js'
    const response = await get(path, { headers: { 'accept-encoding': accepted } })
    expect(response.headers.get('content-encoding')).toBe(encoding)
    expect(response.headers.get('vary')).toContain('Accept-Encoding')
    expect(await response.text()).toBe(SCRIPT)
    const head = await get(path, { method: 'HEAD', headers: { 'accept-encoding': accepted } })
    for (const name of ['content-encoding', 'content-length', 'etag', 'content-type'])
      expect([name, head.headers.get(name)]).toEqual([name, response.headers.get(name)])
  })

  test.each([
    '/console/nothing.js',
    '/console/../secret.txt',
    '/console/..%2fsecret.txt',
    '/console/assets/',
  ])('%s is answered 404 as JSON', async (path) => {
    // Raw, because fetch would resolve the dots.
    const { hostname, port } = new URL(gateway.url)
    const socket = connect(Number(port), hostname)
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
    await once(socket, 'close')
    expect(answer).toMatch(/^HTTP\/1\.1 404 [^]*application\/json[^]*"code":"NOT_FOUND"/)
  })

  test('learns from config.json whom it talks to, without a token', async () => {
    const response = await get('/console/config.json')
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(await response.json()).toEqual({
      mode: 'SANDBOX',
      version: expect.any(String),
      authentication: 'none',
      oidc: null,
    })
  })
})

test('the console is off in live mode, unless CONSOLE is on', async () => {
  await using off = await open(LIVE)
  for (const path of ['/console', '/console/', '/console/config.json'])
    expect((await fetch(`${off.url}${path}`)).status).toBe(404)
  await using on = await open({ ...LIVE, CONSOLE: 'on' })
  expect(await (await fetch(`${on.url}/console/`)).text()).toBe(INDEX)
  expect(await (await fetch(`${on.url}/console/config.json`)).json()).toMatchObject({
    mode: 'LIVE',
    authentication: 'bearer',
  })
})

test('a console that is not built is answered 503 with the remedy, and the service starts', async () => {
  await using gateway = await startGateway({}, { consoleFolder: join(folder.path, 'nowhere') })
  const response = await fetch(`${gateway.url}/console/`)
  expect(response.status).toBe(503)
  expect(await response.text()).toContain('npm run build -w console')
  expect((await fetch(`${gateway.url}/console/config.json`)).status).toBe(200)
})

test('the console may connect to the OpenID provider and its token endpoint', async () => {
  const provider = createServer((request, response) => {
    const found = request.url === '/realm/.well-known/openid-configuration'
    response
      .writeHead(found ? 200 : 404)
      .end(JSON.stringify({ token_endpoint: 'https://tokens.example.com/token' }))
  }).listen(0, '127.0.0.1')
  await once(provider, 'listening')
  await using _provider = { [Symbol.asyncDispose]: () => Promise.resolve(void provider.close()) }
  const { port } = provider.address() as AddressInfo
  const origin = `http://127.0.0.1:${port}`
  const oidc = { CONSOLE_OIDC_ISSUER: `${origin}/realm`, CONSOLE_OIDC_CLIENT_ID: 'console' }
  await using gateway = await open({ ...LIVE, ...oidc, CONSOLE: 'on', AUTH_AUDIENCE: 'upscale' })
  const policy = (await fetch(`${gateway.url}/console/`)).headers.get('content-security-policy')
  expect(policy).toContain(`connect-src 'self' ${origin} https://tokens.example.com;`)
  expect(await (await fetch(`${gateway.url}/console/config.json`)).json()).toMatchObject({
    oidc: { issuer: `${origin}/realm`, clientId: 'console', scope: 'openid', audience: 'upscale' },
  })
})

test('a provider that does not answer leaves the console with the origin of its issuer', async () => {
  const oidc = { CONSOLE_OIDC_ISSUER: 'http://127.0.0.1:1/', CONSOLE_OIDC_CLIENT_ID: 'console' }
  await using gateway = await open({ AUTH_JWT_SECRET: 's'.repeat(32), ...oidc })
  const policy = (await fetch(`${gateway.url}/console/`)).headers.get('content-security-policy')
  expect(policy).toContain("connect-src 'self' http://127.0.0.1:1;")
  expect(gateway.log()).toContain('CONSOLE_OIDC_ISSUER: failed to read the metadata')
})

describe('the start page', () => {
  test('links browsers to what there is', async () => {
    await using gateway = await open()
    const response = await fetch(gateway.url, { headers: { accept: BROWSER } })
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(response.headers.get('content-security-policy')).toMatch(/^default-src 'none'; style-src 'sha256-/)
    const text = await response.text()
    const links = [...text.matchAll(/href="([^"]+)"/g)].map(([, link = '']) => link)
    expect(links).toEqual(['console/', 'graphql', 'readyz?verbose'])
    for (const link of links)
      expect((await fetch(`${gateway.url}/${link}`, { headers: { accept: BROWSER } })).status).toBe(200)
  })

  test.each([undefined, '*/*', 'application/json', 'application/json, text/plain, */*'])(
    'is JSON for other clients, as it was: Accept: %s',
    async (accept) => {
      await using gateway = await open()
      const response = await fetch(gateway.url, accept === undefined ? {} : { headers: { accept } })
      expect([response.status, response.headers.get('content-type')]).toEqual([
        404,
        'application/json; charset=utf-8',
      ])
      const correlationId = response.headers.get('x-correlation-id') ?? ''
      const facts = `"retryable":false,"retryAfterMs":null,"upstreamCode":null,"taskId":null,"correlationId":"${correlationId}","code":"NOT_FOUND"`
      expect(await response.text()).toBe(
        `{"errors":[{"message":"There is nothing here.","extensions":{${facts}}}]}`,
      )
    },
  )

  test('does not exist where nothing is for browsers', async () => {
    await using gateway = await open(LIVE)
    expect((await fetch(gateway.url, { headers: { accept: BROWSER } })).status).toBe(404)
  })
})

test('an unknown path is answered with what there is instead', async () => {
  await using gateway = await open({ CALLBACK_PORT: '0' })
  for (const [method, path] of [
    ['GET', '/graphqll'],
    ['POST', '/'],
  ] as const) {
    const response = await fetch(`${gateway.url}${path}`, { method })
    expect(response.status).toBe(404)
    expect(await response.text()).toContain('GraphQL is at /graphql, the console at /console/.')
  }
  expect(await (await fetch(`${gateway.callbackUrl}/graphql`)).text()).toContain('"There is nothing here."')
})

test.each([
  ['GET /graphql without a query', 'GET', {}, undefined, 400],
  ['POST /graphql without a body', 'POST', {}, undefined, 400],
  ['POST /graphql with an empty object', 'POST', { 'content-type': 'application/json' }, '{}', 400],
  [
    'POST /graphql as curl -d sends it',
    'POST',
    { 'content-type': 'application/x-www-form-urlencoded' },
    '{}',
    415,
  ],
])('%s is answered with what to send', async (_name, method, headers, body, status) => {
  await using gateway = await open()
  const response = await fetch(`${gateway.url}/graphql`, {
    method,
    headers,
    ...(body !== undefined && { body }),
  })
  expect(response.status).toBe(status)
  expect(response.headers.get('content-type')).toMatch(/^application\/json/)
  const { errors } = (await response.json()) as { errors: { message: string }[] }
  expect(errors[0]?.message).toContain('"content-type: application/json"')
})

test('a socket at a wrong path is answered with the right one', async () => {
  await using gateway = await open()
  const socket = new WebSocket(gateway.url.replace('http', 'ws'), 'graphql-transport-ws')
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
  expect(response.statusCode).toBe(404)
  expect(await text(response)).toBe(
    'There is nothing here. Sockets open at /graphql, with the protocol graphql-transport-ws.',
  )
})

test('GraphiQL is sent compressed, and not again while it is the same', async () => {
  await using gateway = await open()
  const get = (headers: Record<string, string>) =>
    fetch(`${gateway.url}/graphql`, { headers: { accept: BROWSER, ...headers } })
  const sizes = new Map<string, number>()
  for (const encoding of ['br', 'gzip', 'identity']) {
    const response = await get({ 'accept-encoding': encoding })
    sizes.set(encoding, Number(response.headers.get('content-length')))
    expect(await response.text()).toContain('YogaGraphiQL.renderYogaGraphiQL')
  }
  expect(sizes.get('br')).toBeLessThan(2_500_000)
  expect(sizes.get('gzip')).toBeLessThan(3_000_000)
  expect(sizes.get('identity')).toBeGreaterThan(5_000_000)
  const etag = (await get({})).headers.get('etag') ?? ''
  expect((await get({ 'if-none-match': etag })).status).toBe(304)
})
