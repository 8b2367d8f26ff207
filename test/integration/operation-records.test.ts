import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { openEventStream } from '../support/event-stream.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { openRaw } from '../support/raw-client.ts'
import { startScriptedRouter } from '../support/router.ts'
import { openScene } from '../support/scene.ts'
import { openReadySocket } from '../support/socket.ts'
import { waitFor } from '../support/wait-for.ts'

interface Line {
  readonly type: string
  readonly code: string
  readonly transport: string
  readonly correlationId: string
}

/** Reads the lines of the access log that have been added since the last call, once there are so many. */
function followLog({ log }: Pick<Gateway, 'log'>) {
  const all = () =>
    log()
      .split('\n')
      .filter((line) => line.includes('an operation ended'))
      .map((line) => JSON.parse(line) as Line)
  let taken = 0
  return async (count = 1): Promise<Line[]> => {
    await waitFor(() => all().length >= taken + count)
    const lines = all().slice(taken)
    taken += lines.length
    return lines
  }
}

const IDS = /"correlationId":"([^"]+)"/g
const JSON_TYPE = { 'content-type': 'application/json' }
const post = (body: unknown, headers = JSON_TYPE) => ({
  method: 'POST',
  headers,
  body: typeof body === 'string' ? body : JSON.stringify(body),
})
const QUERY = '{ __typename }'
const MUTATION = 'mutation { cancelUpscale(id: "unknown") { id } }'
const BY_GET = (query: string) => `?query=${encodeURIComponent(query)}`

describe('the id in the errors of a response, and in the log, is that of its header', () => {
  let gateway: Gateway
  let lines: ReturnType<typeof followLog>
  beforeAll(async () => {
    gateway = await startGateway({ CORS_ORIGINS: 'http://localhost:5173' })
    lines = followLog(gateway)
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
  })

  test.each([
    ['a batch', '', post([{ query: QUERY }]), 'BAD_REQUEST'],
    ['a body without a query', '', post({}), 'BAD_REQUEST'],
    ['variables that are no object', '', post({ query: QUERY, variables: 'x' }), 'BAD_REQUEST'],
    ['a body that is no JSON', '', post('x', { 'content-type': 'text/plain' }), 'BAD_REQUEST'],
    ['a GET that a form could send', BY_GET(QUERY), {}, 'BAD_REQUEST'],
    ['a mutation by GET', BY_GET(MUTATION), { headers: JSON_TYPE }, 'BAD_REQUEST'],
    ['a persisted query', '', post({ extensions: { persistedQuery: { version: 1, sha256Hash: 'x' } } })],
    ['an unknown field', '', post({ query: '{ unknown }' }), 'GRAPHQL_VALIDATION_FAILED'],
    ['an unknown task', '', post({ query: MUTATION }), 'TASK_NOT_FOUND'],
  ])('%s', async (_title, search, request, code = 'PERSISTED_QUERY_NOT_FOUND') => {
    const response = await fetch(`${gateway.url}/graphql${search}`, request)
    const id = response.headers.get('x-correlation-id')
    const ids = [...(await response.text()).matchAll(IDS)].map(([, each]) => each)
    expect(ids).toEqual([id])
    expect(await lines()).toMatchObject([{ code, transport: 'http', correlationId: id }])
  })

  test.each([
    ['an invalid request', 'GARBAGE\r\n\r\n', 400],
    ['a header that is too long', `GET / HTTP/1.1\r\na: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['a URL that is not valid', 'GET /%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 400],
    ['a request without a host', 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
  ])('%s', async (_title, bytes, status) => {
    using client = await openRaw(gateway.url, bytes)
    const text = await client.ended()
    expect(text).toContain(`HTTP/1.1 ${status} `)
    const [, id] = /x-correlation-id: (\S+)/i.exec(text) ?? []
    expect([...text.matchAll(IDS)].map(([, each]) => each)).toEqual([id])
  })

  test('other origins may read it', async () => {
    const origin = { origin: 'http://localhost:5173' }
    const response = await fetch(
      `${gateway.url}/graphql`,
      post({ query: QUERY }, { ...JSON_TYPE, ...origin }),
    )
    expect(response.headers.get('access-control-expose-headers')).toBe('x-correlation-id, retry-after')
    const preflight = { ...origin, 'access-control-request-method': 'POST' }
    const answer = await fetch(`${gateway.url}/graphql`, { method: 'OPTIONS', headers: preflight })
    expect(answer.headers.get('x-correlation-id')).toEqual(expect.any(String))
    await lines()
  })
})

describe('each operation has one line in the access log, with its outcome', () => {
  test('on a socket', async () => {
    await using scene = await openScene()
    const { gateway } = scene
    const { id } = await scene.submit()
    const lines = followLog(gateway)
    await lines()
    const socket = await openReadySocket(gateway.url)
    const subscribe = (operation: string, query: string) =>
      socket.send({ id: operation, type: 'subscribe', payload: { query } })
    const toIds = (frame: unknown) => [...JSON.stringify(frame).matchAll(IDS)].map(([, each]) => each)
    subscribe('invalid', '{ unknown }')
    const [invalid] = await lines()
    expect(invalid).toMatchObject({ type: 'unknown', code: 'GRAPHQL_VALIDATION_FAILED' })
    expect(toIds(await socket.next())).toEqual([invalid?.correlationId])

    // One packet: the second operation comes while the first still ends.
    const follow = `subscription { taskUpdated(id: "${id}") { status } }`
    subscribe('twice', follow)
    socket.send({ id: 'twice', type: 'complete' })
    subscribe('twice', QUERY)
    const [refused, completed] = await lines(2)
    expect(refused).toMatchObject({ code: 'BAD_REQUEST' })
    expect(completed).toMatchObject({ type: 'subscription', code: 'OK' })
    expect(toIds(await socket.next())).toEqual([refused?.correlationId])

    subscribe('running', follow)
    await socket.next()
    const other = await openReadySocket(gateway.url)
    other.send({ id: '1', type: 'subscribe', payload: { query: follow } })
    await other.next()
    other.socket.terminate()
    expect(await lines()).toMatchObject([{ type: 'subscription', code: 'OK' }])
    await scene[Symbol.asyncDispose]()
    expect(await lines()).toMatchObject([{ type: 'subscription', code: 'SERVICE_UNAVAILABLE' }])
  })

  test('over server-sent events', async () => {
    await using scene = await openScene()
    const { url } = scene.gateway
    const { id } = await scene.submit()
    const lines = followLog(scene.gateway)
    await lines()
    const send = async (query: string, method: 'GET' | 'POST' = 'POST') => {
      using stream = await openEventStream(url, { query, method })
      await stream.response.text()
      return await lines()
    }
    expect(await send(QUERY)).toMatchObject([{ type: 'query', code: 'OK', transport: 'sse' }])
    expect(await send('{ unknown }')).toMatchObject([{ code: 'GRAPHQL_VALIDATION_FAILED' }])
    expect(await send(MUTATION)).toMatchObject([{ type: 'mutation', code: 'TASK_NOT_FOUND' }])
    expect(await send(MUTATION, 'GET')).toMatchObject([{ type: 'mutation', code: 'BAD_REQUEST' }])
    const query = `subscription { taskUpdated(id: "${id}") { status } }`
    {
      using stream = await openEventStream(url, { query })
      await stream.next()
    }
    expect(await lines()).toMatchObject([{ type: 'subscription', code: 'OK' }])
    using stream = await openEventStream(url, { query })
    await stream.next()
    await scene[Symbol.asyncDispose]()
    expect(await lines()).toMatchObject([{ type: 'subscription', code: 'SERVICE_UNAVAILABLE' }])
  })

  test('at the end of the events that are posted to a router', async () => {
    await using router = await startScriptedRouter()
    await using scene = await openScene({ SUBSCRIPTION_CALLBACK_URLS: router.url })
    const { id, succeed } = await scene.submit()
    const lines = followLog(scene.gateway)
    await lines()
    const subscription = {
      callbackUrl: `${router.url}/sub`,
      subscriptionId: 'sub',
      verifier: 'verifier',
      heartbeatIntervalMs: 0,
    }
    const query = `subscription { taskUpdated(id: "${id}") { status } }`
    await fetch(`${scene.gateway.url}/graphql`, {
      ...post({ query, extensions: { subscription } }),
      headers: { ...JSON_TYPE, accept: 'application/json;callbackSpec=1.0' },
    })
    await router.next('next')
    await scene.gateway.run('HTTP', QUERY)
    expect(await lines()).toMatchObject([{ type: 'query' }])
    await succeed()
    await router.next('complete')
    expect(await lines()).toMatchObject([{ type: 'subscription', code: 'OK' }])
  })
})
