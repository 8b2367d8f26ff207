import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { GetHistoryDocument, UpscaleImageDocument } from '../generated/operations.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import {
  json,
  startScriptedUpstream,
  text,
  type Answer,
  type ScriptedUpstream,
} from '../support/scripted-upstream.ts'

const API_KEY = 'sk-very/secret-key/'

/** JSON so many levels deep. */
function nest(depth: number, open = '[', close = ']'): string {
  return `${open.repeat(depth)}1${close.repeat(depth)}`
}

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

  test('may quote the token of the callback URL alone, and the log does not hold it', async () => {
    upstream.onCreate = (response, request) => {
      const { callBackUrl } = JSON.parse(request.body) as { callBackUrl: string }
      json(200, { code: 422, msg: `bad token ${callBackUrl.split('/').at(-1) ?? ''}.` })(response, request)
    }
    await submit()
    expect(gateway.log()).toContain('bad token [redacted].')
  })

  test('that quotes our key where the log cuts it leaves no part of the key in the log', async () => {
    for (let length = 490; length < 505; length += 1) {
      upstream.onCreate = json(200, { code: 422, msg: 'x'.repeat(length) + API_KEY })
      await submit()
    }
    expect(gateway.log()).toContain('[reda')
    expect(gateway.log()).not.toContain(API_KEY.slice(0, 4))
  })

  test('is not told of a watermark that was not asked for, nor of an empty one', async () => {
    await submit()
    await submit({ waterMark: '', force: true })
    for (const { body } of upstream.received) expect(JSON.parse(body)).not.toHaveProperty('waterMark')
  })

  const success = { code: 200, msg: 'success', data: { taskId: 'upstream-1' } }
  const html = (status: number, headers = {}) =>
    text(status, '<html>Bad Gateway nginx/1.2.3</html>', { 'content-type': 'text/html', ...headers })

  /** Sends a callback of success, as the upstream does for a task that it has taken. */
  async function callBack() {
    const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
    const path = new URL(callBackUrl).pathname.replace('/base', '')
    const data = { taskId: 'upstream-1', resultUrls: ['https://cdn.example/a.png'] }
    return fetch(gateway.callbackUrl + path, { method: 'POST', body: JSON.stringify({ code: 200, data }) })
  }

  const unproven: [string, Answer, string][] = [
    ...[500, 502, 504, 520, 524].flatMap((status): [string, Answer, string][] => [
      [`HTTP ${status} with an HTML page`, html(status), `HTTP ${status} without an envelope`],
      [`HTTP ${status} with an empty body`, text(status, ''), `HTTP ${status} without an envelope`],
    ]),
    ['HTTP 200 with an HTML page', html(200), 'HTTP 200 without an envelope'],
    ['HTTP 200 with an empty body', text(200, ''), 'HTTP 200 without an envelope'],
    ['an array', json(200, [success]), 'HTTP 200 without an envelope'],
    ['a string', json(200, 'ok'), 'HTTP 200 without an envelope'],
    ['null', json(200, null), 'HTTP 200 without an envelope'],
    ['an object without code', json(200, { data: { taskId: 'x' } }), 'HTTP 200 without an envelope'],
    ['a code that is no integer', json(200, { ...success, code: 2.5 }), 'HTTP 200 without an envelope'],
    [
      'a code that throws when read as text',
      json(200, { code: { toString: 1 } }),
      'HTTP 200 without an envelope',
    ],
    ['a code nested 10,000 deep', text(200, `{"code":${nest(10_000)}}`), 'HTTP 200 without an envelope'],
    [
      'a msg nested 10,000 deep',
      text(200, `{"msg":${nest(10_000)},"data":null}`),
      'HTTP 200 without an envelope',
    ],
    [
      'an error nested 10,000 deep',
      text(200, nest(10_000, '{"error":', '}')),
      'HTTP 200 without an envelope',
    ],
    ['200 without data', json(200, { code: 200, msg: 'success' }), 'HTTP 200, code 200, no task id'],
    ['200 with null data', json(200, { ...success, data: null }), 'HTTP 200, code 200, no task id'],
    [
      '200 with an empty id',
      json(200, { ...success, data: { taskId: '' } }),
      'HTTP 200, code 200, no task id',
    ],
    ['HTTP 500 around a success', json(500, success), 'HTTP 500, code 200'],
    [
      'a redirect, which is not followed',
      text(302, '', { location: '/elsewhere' }),
      'HTTP 302 without an envelope',
    ],
  ]
  test.each(unproven)(
    'that proves nothing leaves the task SUBMITTED, is not paid again, and a callback settles it: %s',
    async (_name, answer, note) => {
      upstream.onCreate = answer
      const payload = await submit()
      expect(payload).toMatchObject({ task: { status: 'SUBMITTED' }, problem: null })
      expect(await submit()).toMatchObject({ task: { id: payload?.task?.id }, replayed: true })
      expect(upstream.received).toHaveLength(1)
      expect((await callBack()).status).toBe(200)
      const { data } = await gateway.run('HTTP', GetHistoryDocument, { id: payload?.task?.id ?? '' })
      expect(data?.upscaleTask?.status).toBe('SUCCEEDED')
      expect(data?.upscaleTask?.history.map((event) => event.note)).toEqual([
        'submitted',
        `the answer was not understood: ${note}`,
        'done',
      ])
      expect(JSON.stringify(data)).not.toMatch(/nginx|html/)
    },
  )

  const refusals: [string, Answer, object][] = [
    [
      '429 of a CDN',
      html(429, { 'retry-after': '7' }),
      { code: 'UPSTREAM_RATE_LIMITED', upstreamCode: 429, retryable: true, retryAfterMs: 7_000 },
    ],
    [
      '503 of a CDN',
      html(503, { 'retry-after': '120' }),
      { code: 'UPSTREAM_MAINTENANCE', upstreamCode: 503, retryable: true, retryAfterMs: 120_000 },
    ],
    ...[521, 522, 523].map((status): [string, Answer, object] => [
      `${status} of a CDN`,
      html(status),
      { code: 'UPSTREAM_UNREACHABLE', upstreamCode: status, retryable: true, retryAfterMs: 5_000 },
    ]),
    ...(
      [
        [401, 'UPSTREAM_UNAUTHORIZED'],
        [402, 'INSUFFICIENT_CREDITS'],
        [403, 'UPSTREAM_PROTOCOL_ERROR'],
        [404, 'UPSTREAM_NOT_FOUND'],
        [405, 'UPSTREAM_PROTOCOL_ERROR'],
        [413, 'UPSTREAM_PROTOCOL_ERROR'],
        [415, 'UPSTREAM_PROTOCOL_ERROR'],
      ] as const
    ).map(([status, code]): [string, Answer, object] => [
      `${status} without an envelope`,
      text(status, 'error code: 1010'),
      { code, upstreamCode: status, retryable: false, retryAfterMs: null },
    ]),
  ]
  test.each(refusals)(
    'that proves that nothing ran is a refusal, which frees the key: %s',
    async (_n, answer, problem) => {
      upstream.onCreate = answer
      const payload = await submit({ idempotencyKey: 'key' })
      expect(payload).toMatchObject({ task: null, problem })
      expect(JSON.stringify(payload)).not.toMatch(/nginx|1010|html|charged/)
      upstream.onCreate = json(200, success)
      expect(await submit({ idempotencyKey: 'key' })).toMatchObject({
        task: { status: 'PROCESSING' },
        replayed: false,
      })
    },
  )

  const unreadable: [string, Answer][] = [
    [
      'cut short',
      (response) => {
        response.writeHead(429, { 'retry-after': '7', 'content-length': '500' }).write('<html>')
        setImmediate(() => response.destroy())
      },
    ],
    [
      'not ended',
      (response) => void response.writeHead(429, { 'retry-after': '7', 'content-length': '500' }).write('<'),
    ],
    ['too long', text(429, 'x'.repeat(2_000_000), { 'retry-after': '7' })],
    ['not in its encoding', text(429, '<html>', { 'retry-after': '7', 'content-encoding': 'gzip' })],
  ]
  test.each(unreadable)(
    'whose status proves that nothing ran is a refusal although its body is %s',
    async (_name, answer) => {
      upstream.onCreate = answer
      const problem = { code: 'UPSTREAM_RATE_LIMITED', upstreamCode: 429, retryAfterMs: 7_000 }
      expect(await submit({ idempotencyKey: 'key' })).toMatchObject({ task: null, problem })
      upstream.onCreate = json(200, success)
      expect(await submit({ idempotencyKey: 'key' })).toMatchObject({ task: { status: 'PROCESSING' } })
    },
  )

  test('with a code that is not in the catalogue is a protocol error that keeps the number and leaks nothing', async () => {
    upstream.onCreate = json(200, { code: 777, msg: 'secret internals' })
    const payload = await submit()
    const problem = { code: 'UPSTREAM_PROTOCOL_ERROR', upstreamCode: 777, retryable: false }
    expect(payload).toMatchObject({ task: null, problem })
    expect(JSON.stringify(payload)).not.toContain('internals')
  })

  test.each<[number, string, boolean]>([
    [408, 'UPSTREAM_TIMEOUT', true],
    [433, 'KEY_QUOTA_EXCEEDED', false],
  ])('with code %i is %s, which frees the key', async (code, ours, retryable) => {
    upstream.onCreate = json(200, { code, msg: 'x', data: null })
    const payload = await submit({ idempotencyKey: 'key' })
    expect(payload).toMatchObject({ task: null, problem: { code: ours, upstreamCode: code, retryable } })
    upstream.onCreate = json(200, success)
    expect(await submit({ idempotencyKey: 'key' })).toMatchObject({ task: { status: 'PROCESSING' } })
  })

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

  const LOST = 'lost: the connection failed or timed out'
  test.each<[string, Answer, string]>([
    ['cut before the answer', (response) => response.destroy(), LOST],
    [
      'cut in the middle of it',
      (response) => {
        response.writeHead(200, { 'content-length': '500' }).write('{"code":200,"data"')
        setImmediate(() => response.destroy())
      },
      'incomplete: HTTP 200',
    ],
    ['never answered', () => undefined, LOST],
    [
      'answered without end',
      (response) => {
        const more = () => {
          if (!response.destroyed) response.write('x'.repeat(65_536), more)
        }
        response.writeHead(200)
        more()
      },
      'incomplete: HTTP 200',
    ],
  ])(
    'a request that was sent and %s leaves the task SUBMITTED and is not sent again',
    async (_name, answer, note) => {
      upstream.onCreate = answer
      const payload = await submit()
      expect(payload).toMatchObject({ task: { status: 'SUBMITTED', version: 1 }, problem: null })
      expect(await submit()).toMatchObject({ task: { status: 'SUBMITTED' }, replayed: true })
      expect(upstream.received).toHaveLength(1)
      const { data } = await gateway.run('HTTP', GetHistoryDocument, { id: payload?.task?.id ?? '' })
      expect(data?.upscaleTask?.history.at(-1)?.note).toBe(`the answer was ${note}`)
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
