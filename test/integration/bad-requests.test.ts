import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { WebSocket } from 'ws'
import { startGateway, type Gateway } from '../support/gateway.ts'

const times = (count: number, text: string) => Array.from({ length: count }, () => text).join(' ')
const JSON_TYPE = { 'content-type': 'application/json' }

/** Documents that no good client sends. */
const DOCUMENTS: string[] = [
  '',
  ' ',
  '{',
  '}',
  '{}',
  '{ }',
  'query',
  'mutation',
  'subscription',
  '\u0000',
  '\ud800',
  '"',
  '"""',
  '#',
  '{ a',
  '{ __typename',
  '{ __typename }}',
  '{ nothing }',
  '{ upscaleTask }',
  '{ upscaleTask(id: ) { id } }',
  '{ upscaleTask(id: {}) { id } }',
  '{ upscaleTask(id: "x") }',
  '{ upscaleTask(id: "x") { id { id } } }',
  '{ upscaleTask(id: "x", id: "y") { id } }',
  '{ upscaleTask(nope: "x") { id } }',
  '{ upscaleTasks(first: 1.5) { edges { cursor } } }',
  '{ upscaleTasks(first: 99999999999) { edges { cursor } } }',
  '{ upscaleTasks(status: NOPE) { edges { cursor } } }',
  '{ upscaleTasks(first: -1) { edges { cursor } } }',
  '{ upscaleTasks(after: "\\u0000") { edges { cursor } } }',
  '{ ...A }',
  '{ ...A } fragment A on Query { ...A }',
  '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
  'fragment A on Query { __typename }',
  '{ ... on Nope { id } }',
  '{ __typename @nope }',
  '{ __typename @skip }',
  '{ __typename @skip(if: 1) }',
  '{ __typename @include(if: $no) }',
  'query ($a: Nope) { __typename }',
  'query ($a: Int, $a: Int) { __typename }',
  'query ($a: UpscaleTask) { __typename }',
  'query A { __typename } query A { __typename }',
  'query A { __typename } { __typename }',
  'type Query { a: Int }',
  'extend schema @link(url: "x")',
  'mutation { nothing }',
  'mutation { upscaleImage }',
  'mutation { upscaleImage(input: null) { replayed } }',
  'mutation { upscaleImage(input: {}) { replayed } }',
  'mutation { upscaleImage(input: {taskId: 1.5, imageIndex: 0}) { replayed } }',
  'mutation { upscaleImage(input: {taskId: "x", imageIndex: "0"}) { replayed } }',
  'mutation { upscaleImage(input: {taskId: "x", imageIndex: 0, extra: 1}) { replayed } }',
  'mutation { upscaleImage(input: {taskId: "x", imageIndex: 9}) { replayed } }',
  'subscription { taskUpdated(id: "x") { id } taskUpdated2: taskUpdated(id: "y") { id } }',
  'subscription { __typename }',
  '{ _entities(representations: [1]) { __typename } }',
  '{ _entities(representations: [{}]) { __typename } }',
  '{ _entities(representations: [{__typename: "Nope"}]) { __typename } }',
  '{ _entities(representations: [{__typename: "Query"}]) { __typename } }',
  `{ ${times(1_200, '__typename')} }`,
  `{ ${times(2_000, '{')} }`,
  times(900, '['),
  `{ ${Array.from({ length: 200 }, (_, n) => `a${n}: __typename`).join(' ')} }`,
  `{ __typename ${times(150, '@skip(if: false)')} }`,
  `{ ${Array.from({ length: 60 }, (_, n) => `a${n}: upscaleTasks(first: 100) { edges { cursor } }`).join(' ')} }`,
  `mutation { ${Array.from({ length: 50 }, (_, n) => `a${n}: upscaleImage(input: {taskId: "x", imageIndex: 0}) { replayed }`).join(' ')} }`,
  `{ ...F0 } ${Array.from({ length: 80 }, (_, n) => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`).join(' ')} fragment F80 on Query { nothing }`,
  `query (${Array.from({ length: 200 }, (_, n) => `$v${n}: Int`).join(' ')}) { __typename }`,
  `{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }`,
]

/** Bodies that are no GraphQL request at all. */
const BODIES: string[] = [
  '',
  'null',
  'true',
  '1',
  '"x"',
  '[]',
  '[{}]',
  '[{"query":"{ __typename }"}]',
  '{}',
  '{"query":null}',
  '{"query":1}',
  '{"query":{}}',
  '{"query":[]}',
  '{"query":"{ __typename }","variables":1}',
  '{"query":"{ __typename }","variables":"x"}',
  '{"query":"{ __typename }","variables":[]}',
  '{"query":"{ __typename }","operationName":1}',
  '{"query":"{ __typename }","operationName":"Nope"}',
  '{"query":"{ __typename }","extensions":1}',
  '{"query":"{ __typename }","extensions":{"persistedQuery":1}}',
  '{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"abc"}}}',
  '{"extensions":{"persistedQuery":{"version":9,"sha256Hash":"abc"}},"query":"{ __typename }"}',
  '{"query":"{ __typename }","extensions":{"persistedQuery":{"version":1,"sha256Hash":"abc"}}}',
  '{"__proto__":{"query":"x"}}',
  '{"constructor":{"prototype":{}}}',
  '{"query":"{ __typename }"',
  '{"query":"{ __typename }"}}',
  "{'query':'x'}",
  '\ufeff{}',
  '\u0000',
  `{"query":"${'x'.repeat(70_000)}"}`,
  '['.repeat(30_000),
  `{"query":"query ($i: UpscaleImageInput!) { __typename }","variables":{"i":${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}}}`,
]

const CONTENT_TYPES = [
  'text/plain',
  'text/html',
  'application/graphql',
  'application/x-www-form-urlencoded',
  'multipart/form-data',
  'application/jsonx',
  'x',
  '',
]
const METHODS = ['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND']
const PATHS = [
  '/',
  '/graphql/',
  '/graphql//',
  '/GRAPHQL',
  '/%',
  '/%00',
  '/..%2f..%2fetc/passwd',
  '/graphql?query=%',
  '/graphql?query={',
  '/graphql?variables={',
  `/${'a'.repeat(5_000)}`,
  '/callbacks/upscale',
  '/callbacks/upscale/x',
  '/callbacks/upscale/x/y/z',
  '/sandbox/pictures/9.png',
  '/sandbox/api/v1/mj/record-info',
]

/** Frames that break the protocol, or whose operation cannot be run. */
const FRAMES: string[] = [
  '',
  'x',
  'null',
  '1',
  '[]',
  '{}',
  '{"type":1}',
  '{"type":"nope"}',
  '{"type":"subscribe"}',
  '{"type":"subscribe","id":1,"payload":{"query":"x"}}',
  '{"type":"subscribe","id":"","payload":{"query":"x"}}',
  '{"type":"subscribe","id":"1"}',
  '{"type":"subscribe","id":"1","payload":null}',
  '{"type":"subscribe","id":"1","payload":{"query":1}}',
  '{"type":"subscribe","id":"1","payload":{"query":"{ a }","variables":1}}',
  '{"type":"subscribe","id":"1","payload":{"query":"{ a }","operationName":1}}',
  '{"type":"complete"}',
  '{"type":"next","id":"1","payload":{}}',
  '{"type":"connection_init","payload":1}',
  '{"type":"ping","payload":1}',
  'x'.repeat(70_000),
]

/** Bytes that are hardly HTTP. */
const BYTES = [
  '\r\n\r\n',
  'GET\r\n\r\n',
  'GET / HTTP/9.9\r\n\r\n',
  'GET /graphql HTTP/1.1\r\n\r\n',
  'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n',
  'POST /graphql HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
  'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx',
  `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
]

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
