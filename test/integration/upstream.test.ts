import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { UpscaleImageDocument } from '../generated/operations.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import {
  json,
  startScriptedUpstream,
  text,
  type Answer,
  type ScriptedUpstream,
} from '../support/scripted-upstream.ts'

const API_KEY = 'sk-very-secret-key'

describe('what the upstream answers to a submit', () => {
  let upstream: ScriptedUpstream
  let gateway: Gateway
  beforeEach(async () => {
    upstream = await startScriptedUpstream()
    gateway = await startGateway({
      UPSTREAM_URL: upstream.url,
      UPSTREAM_API_KEY: API_KEY,
      AUTH_MODE: 'none',
      PUBLIC_URL: 'https://gateway.example.com/base/',
      UPSTREAM_TIMEOUT_MS: '2000',
    })
  })
  afterEach(async () => {
    await gateway[Symbol.asyncDispose]()
    await upstream[Symbol.asyncDispose]()
    expect(gateway.log()).not.toContain(API_KEY)
  })

  async function submit(input: Record<string, unknown> = {}) {
    const all = { taskId: 'source', imageIndex: 3, ...input }
    const { data, errors } = await gateway.run('HTTP', UpscaleImageDocument, { input: all })
    expect(errors).toBeUndefined()
    return data?.upscaleImage
  }

  test('is asked for with exactly the fields of its contract', async () => {
    await submit({ waterMark: 'mine' })
    expect(upstream.received).toHaveLength(1)
    const [{ method, path, headers, body } = upstream.received[0] as never] = upstream.received
    expect({ method, path }).toEqual({ method: 'POST', path: '/api/v1/mj/generateUpscale' })
    expect(headers).toMatchObject({
      authorization: `Bearer ${API_KEY}`,
      'content-type': 'application/json',
      'user-agent': 'upscale-gateway',
    })
    expect(JSON.parse(body)).toEqual({
      taskId: 'source',
      imageIndex: 3,
      waterMark: 'mine',
      callBackUrl: expect.stringMatching(
        /^https:\/\/gateway\.example\.com\/base\/callbacks\/upscale\/[\w-]{36}\/[\w-]{43}$/,
      ),
    })
  })

  test('goes over a connection of its own each time, so that a reset on it means what it says', async () => {
    for (let n = 0; n < 3; n += 1) await submit({ force: true })
    expect(new Set(upstream.received.map(({ port }) => port)).size).toBe(3)
  })

  test('may quote what we sent, and the log still holds neither our key nor the callback token', async () => {
    upstream.onCreate = (response, request) => {
      const { callBackUrl } = JSON.parse(request.body) as { callBackUrl: string }
      json(200, { code: 422, msg: `${callBackUrl} is not reachable; key Bearer ${API_KEY}` })(
        response,
        request,
      )
    }
    await submit()
    const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
    expect(gateway.log()).toContain('is not reachable')
    expect(gateway.log()).not.toContain(callBackUrl.split('/').at(-1))
  })

  test('is not told of a watermark that was not asked for, nor of an empty one', async () => {
    await submit()
    await submit({ waterMark: '', force: true })
    for (const { body } of upstream.received) expect(JSON.parse(body)).not.toHaveProperty('waterMark')
  })

  const success = { code: 200, msg: 'success', data: { taskId: 'upstream-1' } }
  const oddities: [string, Answer, number][] = [
    ['an HTML page', text(200, '<html><body>hello</body></html>', { 'content-type': 'text/html' }), 200],
    ['an HTML error page', text(502, '<html>Bad Gateway nginx/1.2.3</html>'), 502],
    ['an odd User-Agent block page', text(403, 'error code: 1010'), 403],
    ['an empty body', text(200, ''), 200],
    ['an array', json(200, [success]), 200],
    ['a string', json(200, 'ok'), 200],
    ['null', json(200, null), 200],
    ['an object without code', json(200, { data: { taskId: 'x' } }), 200],
    ['a code that is no integer', json(200, { ...success, code: 2.5 }), 200],
    ['200 without data', json(200, { code: 200, msg: 'success' }), 200],
    ['200 with null data', json(200, { ...success, data: null }), 200],
    ['200 with an empty id', json(200, { ...success, data: { taskId: '' } }), 200],
    ['an unknown code', json(200, { code: 777, msg: 'secret internals' }), 777],
    ['HTTP 500 around a success', json(500, success), 500],
    ['a redirect, which is not followed', text(302, '', { location: '/elsewhere' }), 302],
  ]
  test.each(oddities)(
    '%s is a protocol error that keeps the number and leaks nothing',
    async (_name, answer, number) => {
      upstream.onCreate = answer
      const payload = await submit()
      expect(payload).toMatchObject({
        task: null,
        problem: {
          code: 'UPSTREAM_PROTOCOL_ERROR',
          upstreamCode: number,
          retryable: false,
          retryAfterMs: null,
        },
      })
      expect(JSON.stringify(payload)).not.toMatch(/nginx|internals|1010|html/)
      expect(upstream.received).toHaveLength(1)
    },
  )

  test.each<[string, Answer, object]>([
    [
      'a code as a string counts',
      json(200, { code: '402', msg: 'x' }),
      { code: 'INSUFFICIENT_CREDITS', upstreamCode: 402 },
    ],
    [
      'the body code counts before the HTTP status',
      json(500, { code: 429, msg: 'x' }),
      { code: 'UPSTREAM_RATE_LIMITED', retryAfterMs: 10_000 },
    ],
    [
      'a byte order mark is no part of the answer',
      text(200, '\ufeff{"code":402,"msg":"x"}'),
      { code: 'INSUFFICIENT_CREDITS', upstreamCode: 402 },
    ],
    [
      'a Retry-After is passed on',
      json(429, { code: 429 }, { 'retry-after': '7' }),
      { code: 'UPSTREAM_RATE_LIMITED', retryAfterMs: 7_000 },
    ],
  ])('%s', async (_name, answer, problem) => {
    upstream.onCreate = answer
    expect(await submit()).toMatchObject({ task: null, problem })
  })

  test.each<[string, Answer]>([
    ['cut before the answer', (response) => response.destroy()],
    [
      'cut in the middle of it',
      (response) => {
        response.writeHead(200, { 'content-length': '500' }).write('{"code":200,"data"')
        setImmediate(() => response.destroy())
      },
    ],
    ['never answered', () => undefined],
    [
      'answered without end',
      (response) => {
        const more = () => {
          if (!response.destroyed) response.write('x'.repeat(65_536), more)
        }
        response.writeHead(200)
        more()
      },
    ],
  ])(
    'a request that was sent and %s leaves the task SUBMITTED and is not sent again',
    async (_name, answer) => {
      upstream.onCreate = answer
      expect(await submit()).toMatchObject({ task: { status: 'SUBMITTED', version: 1 }, problem: null })
      expect(await submit()).toMatchObject({ task: { status: 'SUBMITTED' }, replayed: true })
      expect(upstream.received).toHaveLength(1)
    },
  )
})

describe('an upstream that cannot be reached', () => {
  /** A port on which nothing listens. */
  async function closedPort(): Promise<number> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    return port
  }

  const settings = { UPSTREAM_API_KEY: API_KEY, AUTH_MODE: 'none', UPSTREAM_TIMEOUT_MS: '2000' }
  const problem = { code: 'UPSTREAM_UNREACHABLE', upstreamCode: null, retryable: true, retryAfterMs: 5_000 }
  const input = { taskId: 'source', imageIndex: 0, idempotencyKey: 'key' }

  test('is UPSTREAM_UNREACHABLE when the connection is refused, and the same request may be made again', async () => {
    await using gateway = await startGateway({
      ...settings,
      UPSTREAM_URL: `http://127.0.0.1:${await closedPort()}`,
    })
    for (const _attempt of [1, 2]) {
      const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
      expect(data?.upscaleImage).toMatchObject({ task: null, problem, replayed: false })
    }
  })

  test('is UPSTREAM_UNREACHABLE when the name does not resolve', async () => {
    await using gateway = await startGateway({ ...settings, UPSTREAM_URL: 'http://upstream.invalid' })
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
    expect(data?.upscaleImage).toMatchObject({ task: null, problem })
  })

  test('is UPSTREAM_UNREACHABLE when TLS does not come about', async () => {
    await using upstream = await startScriptedUpstream()
    const url = upstream.url.replace('http:', 'https:')
    await using gateway = await startGateway({ ...settings, UPSTREAM_URL: url })
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
    expect(data?.upscaleImage).toMatchObject({ task: null, problem })
    expect(upstream.received).toHaveLength(0)
  })
})
