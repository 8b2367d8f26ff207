import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from '@jest/globals'
import { parse } from 'graphql'
import { SignJWT } from 'jose'
import { EventSource } from 'undici'
import {
  createHttpTransport,
  followTask,
  followTasks,
  submit,
  type HttpTransportOptions,
} from '../../client/src/index.ts'
import { startSilentProxy } from '../support/proxy.ts'
import { openScene, RESULT } from '../support/scene.ts'
import { json } from '../support/scripted-upstream.ts'

const SECRET = 'a secret that is long enough for HS256'
const INPUT = { taskId: 'source', imageIndex: 0 }

async function sign(expiresInS: number): Promise<string> {
  const token = await new SignJWT({ sub: 'alice' })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime(Math.floor(Date.now() / 1_000) + expiresInS)
    .sign(new TextEncoder().encode(SECRET))
  return `Bearer ${token}`
}

const connect = (url: string, options: Partial<HttpTransportOptions> = {}) =>
  createHttpTransport({ url: new URL('/graphql', url).href, ...options })

type Answer = (response: ServerResponse, body: string) => void

/** A server that gives one answer after the other. */
async function startAnswers(answers: Answer[]) {
  const bodies: string[] = []
  const closed = Promise.withResolvers<void>()
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    response.once('close', () => closed.resolve())
    const chunks = await Array.fromAsync(request as AsyncIterable<Buffer>)
    bodies.push(Buffer.concat(chunks).toString())
    answers.shift()?.(response, bodies.at(-1) ?? '')
  }
  const server = createServer((request, response) => void handle(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bodies,
    /** A response has ended, or its connection has been closed. */
    closed: closed.promise,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const answer =
  (status: number, body: string, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(status, headers).end(body)
const cutOff: Answer = (response) => response.destroy()
const error = (code: string, more: object = {}) =>
  JSON.stringify({ errors: [{ message: 'No.', extensions: { code, ...more } }] })
const accepted = JSON.stringify({
  data: { upscaleImage: { task: { id: 'x' }, replayed: false, watchToken: null, problem: null } },
})

describe('the HTTP transport of the client', () => {
  test('submits a picture and follows it to its end, without WebSocket', async () => {
    await using scene = await openScene()
    const client = connect(scene.gateway.url)
    const { id, succeed } = await scene.submit()
    const states = followTask(client, { id, selection: 'images { url }' })
    expect((await states.next()).value).toEqual({ version: 2, status: 'PROCESSING', images: null })
    await succeed()
    expect((await states.next()).value).toEqual({
      version: 3,
      status: 'SUCCEEDED',
      images: [{ url: RESULT }],
    })
    expect((await states.next()).done).toBe(true)
    expect(await Array.fromAsync(followTasks(client, { ids: [id] }))).toMatchObject([{ id, version: 3 }])
    const { task, replayed } = await submit(client, { input: { ...INPUT, taskId: 'other' } })
    expect({ task, replayed }).toMatchObject({ task: { status: 'PROCESSING' }, replayed: false })
  })

  test('throws a refusal with all its facts, as data and as a typed error', async () => {
    await using scene = await openScene()
    const client = connect(scene.gateway.url)
    const refuse = { code: 429, msg: 'busy', data: null }
    scene.upstream.onCreate = json(200, refuse, { 'retry-after': '7' })
    const refusal = {
      name: 'FollowError',
      code: 'UPSTREAM_RATE_LIMITED',
      retryable: true,
      retryAfterMs: 7_000,
      upstreamCode: 429,
      correlationId: expect.stringMatching(/./),
    }
    await expect(submit(client, { input: INPUT })).rejects.toMatchObject(refusal)
    const document = parse(
      'mutation ($input: UpscaleImageInput!) { upscaleImage(input: $input) { task { id } } }',
    )
    await expect(submit(client, { input: INPUT, document })).rejects.toMatchObject(refusal)
    const invalid = submit(client, { input: { ...INPUT, imageIndex: 7 } })
    await expect(invalid).rejects.toMatchObject({ name: 'FollowError', code: 'BAD_USER_INPUT' })
    await expect(followTask(client, { id: 'nobody' }).next()).rejects.toMatchObject({
      code: 'TASK_NOT_FOUND',
      taskId: 'nobody',
    })
    const nonsense = followTask(client, { id: 'x', selection: 'nonsense' }).next()
    await expect(nonsense).rejects.toMatchObject({ code: 'GRAPHQL_VALIDATION_FAILED' })
  })

  test('throws a FollowError for each response that is not successful', async () => {
    const cases: [Answer, object][] = [
      [answer(401, error('UNAUTHENTICATED')), { code: 'UNAUTHENTICATED', retryable: false }],
      [answer(401, '<html>'), { code: 'UNAUTHENTICATED', retryable: false }],
      [answer(403, error('FORBIDDEN')), { code: 'FORBIDDEN', retryable: false }],
      [answer(403, ''), { code: 'FORBIDDEN' }],
      [
        answer(429, '', { 'retry-after': '3' }),
        { code: 'RATE_LIMITED', retryable: true, retryAfterMs: 3_000 },
      ],
      [
        answer(429, error('TOO_MANY_OPERATIONS', { retryable: false, retryAfterMs: null })),
        { code: 'TOO_MANY_OPERATIONS', retryable: false, retryAfterMs: null },
      ],
      [
        answer(
          503,
          error('SERVICE_UNAVAILABLE', { retryable: true, retryAfterMs: 2_000, correlationId: 'c' }),
        ),
        { code: 'SERVICE_UNAVAILABLE', retryable: true, retryAfterMs: 2_000, correlationId: 'c' },
      ],
      [answer(503, '', { 'retry-after': '4' }), { code: 'SERVICE_UNAVAILABLE', retryAfterMs: 4_000 }],
      [answer(502, '<html>'), { code: 'SERVICE_UNAVAILABLE', retryable: true }],
      [answer(500, ''), { code: 'INTERNAL_SERVER_ERROR', retryable: false }],
      [answer(404, ''), { code: 'BAD_REQUEST', retryable: false }],
      [
        answer(200, '<html>'),
        {
          code: 'CONNECTION_FAILED',
          retryable: true,
          cause: expect.objectContaining({ name: 'SyntaxError' }),
        },
      ],
      [cutOff, { code: 'CONNECTION_FAILED', retryable: true, cause: expect.anything() }],
    ]
    await using server = await startAnswers(cases.flatMap(([each]) => [each, each]))
    for (const [, expected] of cases)
      for (const query of ['{ a }', 'subscription { a }']) {
        const first = connect(server.url).iterate({ query }).next()
        await expect(first).rejects.toMatchObject({ name: 'FollowError', ...expected })
      }
  })

  test('throws the reason when the token cannot be obtained', async () => {
    const cause = new Error('The identity provider is unavailable')
    const client = connect('http://127.0.0.1:1', { getAuthorization: () => Promise.reject(cause) })
    const first = client.iterate({ query: '{ a }' }).next()
    await expect(first).rejects.toMatchObject({ code: 'CONNECTION_FAILED', retryable: true, cause })
  })

  test('repeats a submit whose answer was lost with the same key, and no refusal', async () => {
    const unavailable = answer(503, error('SERVICE_UNAVAILABLE', { retryable: true, retryAfterMs: 1 }))
    await using server = await startAnswers([cutOff, unavailable, answer(502, ''), answer(200, accepted)])
    const client = connect(server.url)
    expect(await submit(client, { input: INPUT })).toEqual({
      task: { id: 'x' },
      replayed: false,
      watchToken: null,
    })
    expect(server.bodies).toHaveLength(4)
    expect(new Set(server.bodies).size).toBe(1)
    expect(server.bodies[0]).toMatch(/"idempotencyKey":"[\d-]{20,}"/)

    const uncertain = answer(503, error('SERVICE_UNAVAILABLE', { retryable: false }))
    const limited = answer(200, error('RATE_LIMITED', { retryable: true }))
    await using refusing = await startAnswers([uncertain, limited])
    const submitOnce = () => submit(connect(refusing.url), { input: { ...INPUT, idempotencyKey: 'mine' } })
    await expect(submitOnce()).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
    await expect(submitOnce()).rejects.toMatchObject({ code: 'RATE_LIMITED' })
    expect(refusing.bodies.every((body) => body.includes('"idempotencyKey":"mine"'))).toBe(true)
  })

  test('resumes after each lost connection, and yields each state once', async () => {
    await using scene = await openScene()
    await using proxy = await startSilentProxy(scene.gateway.url)
    const { id, succeed } = await scene.submit()
    const states = followTask(connect(proxy.url), { id })
    expect((await states.next()).value).toEqual({ version: 2, status: 'PROCESSING' })
    await proxy.refuse()
    const rest = states.next()
    await proxy.accept()
    while (proxy.count() === 0) await new Promise(setImmediate)
    proxy.leadTo(scene.gateway.url)
    await succeed()
    expect((await rest).value).toEqual({ version: 3, status: 'SUCCEEDED' })
    expect((await states.next()).done).toBe(true)
  })

  test('detects a dead stream by missing pings, and reports its connection', async () => {
    await using scene = await openScene()
    await using proxy = await startSilentProxy(scene.gateway.url)
    const { id, succeed } = await scene.submit()
    const seen: string[] = []
    const states = followTask(connect(proxy.url), { id, onConnection: (state) => void seen.push(state) })
    expect((await states.next()).value).toMatchObject({ version: 2 })
    proxy.silence()
    const rest = states.next()
    await succeed()
    expect((await rest).value).toEqual({ version: 3, status: 'SUCCEEDED' })
    expect(seen).toEqual(['connecting', 'live', 'waiting', 'connecting', 'live'])
  }, 60_000)

  test('ends at once when the signal aborts, and closes its request', async () => {
    await using server = await startAnswers([() => undefined, () => undefined])
    const abort = new AbortController()
    const states = followTask(connect(server.url), { id: 'x', signal: abort.signal })
    const first = states.next()
    while (server.bodies.length === 0) await new Promise(setImmediate)
    abort.abort()
    expect(await first).toEqual({ done: true, value: undefined })
    await server.closed
    expect(await states.next()).toEqual({ done: true, value: undefined })

    const stop = new AbortController()
    const submitted = submit(connect(server.url), { input: INPUT, signal: stop.signal })
    while (server.bodies.length === 1) await new Promise(setImmediate)
    stop.abort()
    await expect(submitted).rejects.toMatchObject({ name: 'FollowError', code: 'ABORTED' })
    const again = submit(connect(server.url), { input: INPUT, signal: stop.signal })
    await expect(again).rejects.toMatchObject({ code: 'ABORTED' })
    expect(server.bodies).toHaveLength(2)
  })

  test('gets a new token when the token of a stream has expired, and fails when it is refused', async () => {
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET })
    const { clock } = scene
    clock.advance(Date.now() - clock.now())
    const { id } = await scene.submit(await sign(600))
    const tokens = [await sign(60), await sign(120), 'Bearer nonsense']
    const states = followTask(connect(scene.gateway.url, { getAuthorization: () => tokens.shift() }), { id })
    expect((await states.next()).value).toMatchObject({ version: 2 })
    const rest = states.next()
    clock.advance(61_000)
    while (tokens.length === 2) await new Promise(setImmediate)
    const timer = setInterval(() => clock.advance(30_000), 300)
    await expect(rest).rejects.toMatchObject({ name: 'FollowError', code: 'UNAUTHENTICATED' })
    clearInterval(timer)
    expect(tokens).toEqual([])
  })

  test('follows with an EventSource and a watch token, and reads the reason of a refusal', async () => {
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET })
    scene.clock.advance(Date.now() - scene.clock.now())
    const { id, watchToken, succeed } = await scene.submit(await sign(600))
    const client = connect(scene.gateway.url, { eventSource: EventSource })
    const states = followTask(client, { id, watchToken })
    expect((await states.next()).value).toMatchObject({ version: 2 })
    const rest = states.next()
    await succeed()
    expect((await rest).value).toMatchObject({ version: 3 })
    expect((await states.next()).done).toBe(true)
    await expect(followTask(client, { id }).next()).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    const refused = followTask(client, { id, watchToken: 'nonsense' }).next()
    await expect(refused).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  })
})

describe('documents of the client', () => {
  test('follow and submit with documents and with their strings, and with the variables that they declare', async () => {
    await using scene = await openScene()
    const client = connect(scene.gateway.url)
    const text =
      'mutation Up($input: UpscaleImageInput!) { upscaleImage(input: $input) { replayed task { id source { id } } } }'
    const { task } = await submit(client, { input: INPUT, document: parse(text) })
    expect(task).toEqual({ id: expect.any(String), source: { id: 'source' } })
    const { id } = task as { id: string }
    const follow = `subscription F($id: ID!) { taskUpdated(id: $id) { ...State } } fragment State on UpscaleTask { version status imageIndex }`
    for (const document of [parse(follow), new String(follow)]) {
      const states = followTask(client, { id, document })
      expect((await states.next()).value).toEqual({ version: 2, status: 'PROCESSING', imageIndex: 0 })
      await states.return()
    }
    const many = parse('subscription M($ids: [ID!]!) { tasksUpdated(ids: $ids) { id version status } }')
    const states = followTasks(client, { ids: [id], document: many })
    expect((await states.next()).value).toEqual({ id, version: 2, status: 'PROCESSING' })
    await states.return()
  })

  test('are refused if they lack what the client needs', async () => {
    await using scene = await openScene()
    const client = connect(scene.gateway.url)
    const { id } = await scene.submit()
    const document = parse('subscription ($id: ID!) { taskUpdated(id: $id) { status } }')
    await expect(followTask(client, { id, document }).next()).rejects.toMatchObject({
      name: 'FollowError',
      code: 'BAD_USER_INPUT',
      message: 'Select id, version and status.',
    })
    const many = parse('subscription ($ids: [ID!]!) { tasksUpdated(ids: $ids) { version status } }')
    await expect(followTasks(client, { ids: [id], document: many }).next()).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
    })
  })
})
