import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { GRAPHQL_TRANSPORT_WS_PROTOCOL } from 'graphql-ws'
import { print } from 'graphql'
import { WebSocket } from 'ws'
import {
  FollowTaskDocument,
  UpscaleImageDocument,
  type FollowTaskSubscription,
} from '../generated/operations.ts'
import { ManualClock } from '../support/clock.ts'
import { collect, startGateway, type Gateway, type Result } from '../support/gateway.ts'
import { json, startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { openReadySocket, openSocket } from '../support/socket.ts'

const subscribe = (id: string, variables: object, query = print(FollowTaskDocument)) => ({
  id,
  type: 'subscribe',
  payload: { query, variables },
})

describe.each([
  ['on', true],
  ['off', false],
])('taskUpdated, with the fast path %s', (_name, fast) => {
  let upstream: ScriptedUpstream
  let gateway: Gateway
  let clock: ManualClock
  beforeEach(async () => {
    upstream = await startScriptedUpstream()
    clock = new ManualClock()
    gateway = await startGateway({ UPSTREAM_URL: upstream.url }, { clock, fast })
    // Both workers have had their first round.
    while (clock.pending < 2) await new Promise(setImmediate)
  })
  afterEach(async () => {
    await gateway[Symbol.asyncDispose]()
    await upstream[Symbol.asyncDispose]()
  })

  async function submit() {
    const input = { taskId: 'source', imageIndex: 0, force: true }
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
    const { callBackUrl } = JSON.parse(upstream.received.at(-1)?.body ?? '') as { callBackUrl: string }
    const settle = async () => {
      const resultUrls = ['https://example.com/result.png']
      const body = JSON.stringify({ code: 200, data: { taskId: 'upstream-1', resultUrls } })
      const { status } = await fetch(callBackUrl, { method: 'POST', body })
      expect(status).toBe(200)
    }
    return { id: data?.upscaleImage?.task?.id ?? '', settle }
  }

  type Stream = AsyncIterableIterator<Result<FollowTaskSubscription>>
  /** The task in the next event; 'complete' at the end. */
  const shown = async (stream: Stream) => {
    const next = await stream.next()
    return next.done === true ? 'complete' : next.value.data?.taskUpdated
  }

  test('shows PROCESSING, then SUCCEEDED with the image, then completes', async () => {
    const { id, settle } = await submit()
    const stream = gateway.follow(FollowTaskDocument, { id })
    expect(await shown(stream)).toMatchObject({ id, status: 'PROCESSING', version: 2, images: null })
    await settle()
    const images = [{ url: 'https://example.com/result.png', expiresAt: expect.any(String) }]
    expect(await shown(stream)).toMatchObject({ id, status: 'SUCCEEDED', version: 3, images })
    expect(await shown(stream)).toBe('complete')
  })

  test('a subscriber that comes late gets the settled state and completes', async () => {
    const { id, settle } = await submit()
    await settle()
    const events = await collect(gateway.follow(FollowTaskDocument, { id }))
    expect(events).toMatchObject([{ data: { taskUpdated: { status: 'SUCCEEDED', version: 3 } } }])
  })

  test.each([
    [3, []],
    [2, [3]],
    [99, [3]],
  ])('a late subscriber with afterVersion %i gets the versions %j', async (afterVersion, versions) => {
    const { id, settle } = await submit()
    await settle()
    const events = await collect(gateway.follow(FollowTaskDocument, { id, afterVersion }))
    expect(events.map(({ data }) => data?.taskUpdated?.version)).toEqual(versions)
  })

  test('one that comes twice, on one socket or on two, is told twice', async () => {
    const { id, settle } = await submit()
    using other = await openReadySocket(gateway.url)
    other.send(subscribe('same', { id }))
    await other.next()
    const streams = [1, 2].map(() => gateway.follow(FollowTaskDocument, { id }))
    for (const stream of streams) expect(await shown(stream)).toMatchObject({ version: 2 })
    await settle()
    for (const stream of streams) expect(await shown(stream)).toMatchObject({ version: 3 })
    expect(await other.next()).toMatchObject({ payload: { data: { taskUpdated: { version: 3 } } } })
    expect(await other.next()).toEqual({ id: 'same', type: 'complete' })
  })

  test('one that has the current version is told only what comes after', async () => {
    const { id, settle } = await submit()
    const stream = gateway.follow(FollowTaskDocument, { id, afterVersion: 2 })
    const first = shown(stream)
    // Answered only after the subscription on the same socket has been read.
    await gateway.run('WebSocket', '{ __typename }')
    await settle()
    expect(await first).toMatchObject({ version: 3, status: 'SUCCEEDED' })
  })

  test('the state is asserted again after 15 s without news', async () => {
    const { id } = await submit()
    const idle = await steady(() => clock.pending)
    const stream = gateway.follow(FollowTaskDocument, { id })
    expect(await shown(stream)).toMatchObject({ version: 2 })
    const again = shown(stream)
    // The timer is set once the first event has been taken from the watcher.
    while (clock.pending <= idle) await new Promise(setImmediate)
    clock.advance(15_000)
    expect(await again).toMatchObject({ id, version: 2, status: 'PROCESSING' })
  })

  test.each(['unknown', 'empty'])('an %s id is one TASK_NOT_FOUND, then complete', async (kind) => {
    const id = kind === 'empty' ? '' : 'unknown'
    const events = await collect(gateway.follow(FollowTaskDocument, { id }))
    expect(events).toEqual([
      {
        data: { taskUpdated: null },
        errors: [
          {
            message: expect.any(String),
            locations: expect.any(Array),
            extensions: {
              code: 'TASK_NOT_FOUND',
              taskId: id,
              retryable: false,
              retryAfterMs: null,
              upstreamCode: null,
              correlationId: expect.any(String),
            },
          },
        ],
      },
    ])
  })

  test('a client that does not read costs no queue: it finds the newest state when it reads on', async () => {
    const { id, settle } = await submit()
    using slow = await openReadySocket(gateway.url)
    slow.socket.pause()
    // Enough answers to fill every buffer between the two, so that the server has to wait for the reader.
    const filler = `{ ${Array.from({ length: 60 }, (_, n) => `a${n}: _service { sdl }`).join(' ')} }`
    for (let n = 0; n < 40; n += 1) slow.send(subscribe(`filler-${n}`, {}, filler))
    slow.send(subscribe('slow', { id }))
    await gateway.run('WebSocket', '{ __typename }')
    await settle()
    slow.socket.resume()
    const versions: unknown[] = []
    for (;;) {
      const frame = (await slow.next()) as {
        id: string
        type: string
        payload?: { data: { taskUpdated: { version: number } } }
      }
      if (frame.id !== 'slow') continue
      if (frame.type === 'complete') break
      versions.push(frame.payload?.data.taskUpdated.version)
    }
    expect(versions.at(-1)).toBe(3)
    expect(versions.length).toBeLessThanOrEqual(2)
  })

  test('a subscriber that leaves is forgotten', async () => {
    const { id } = await submit()
    // An operation counts until its watch has let go of its timer and its listener.
    const open = async () => {
      const metrics = await (await fetch(`${gateway.url}/metrics`)).text()
      return /^upscale_subscriptions_open (\d+)$/m.exec(metrics)?.[1]
    }
    using socket = await openReadySocket(gateway.url)
    for (const leave of [() => socket.send({ id: 'x', type: 'complete' }), () => socket.socket.terminate()]) {
      socket.send(subscribe('x', { id }))
      await socket.next()
      expect(await open()).toBe('1')
      leave()
      while ((await open()) !== '0') await new Promise(setImmediate)
    }
  })
})

/** A number once it has stopped changing by itself. */
async function steady(read: () => number): Promise<number> {
  for (let rounds = 0, last = read(); ; rounds += 1) {
    await new Promise(setImmediate)
    if (read() !== last) rounds = 0
    last = read()
    if (rounds > 50) return last
  }
}

describe('the socket', () => {
  let gateway: Gateway
  beforeEach(async () => {
    gateway = await startGateway()
  })
  afterEach(async () => {
    await gateway[Symbol.asyncDispose]()
  })

  test('stays open when an operation on it has a syntax error, and the others go on', async () => {
    using socket = await openReadySocket(gateway.url)
    socket.send(subscribe('bad', {}, '{ upscaleTask('))
    expect(await socket.next()).toMatchObject({
      id: 'bad',
      type: 'error',
      payload: [{ extensions: { code: 'GRAPHQL_PARSE_FAILED' } }],
    })
    socket.send(subscribe('good', {}, '{ __typename }'))
    expect(await socket.next()).toEqual({
      id: 'good',
      type: 'next',
      payload: { data: { __typename: 'Query' } },
    })
    expect(await socket.next()).toEqual({ id: 'good', type: 'complete' })
  })

  test('stays open when a subscription on it selects nothing', async () => {
    using socket = await openReadySocket(gateway.url)
    socket.send(subscribe('empty', {}, 'subscription { taskUpdated(id: "a") @skip(if: true) { id } }'))
    expect(await socket.next()).toMatchObject({
      id: 'empty',
      type: 'error',
      payload: [{ extensions: { code: 'BAD_REQUEST' } }],
    })
    socket.send(subscribe('good', {}, '{ __typename }'))
    expect(await socket.next()).toMatchObject({ id: 'good', type: 'next' })
  })

  test('is not compressed', async () => {
    const socket = new WebSocket(
      `${gateway.url.replace('http', 'ws')}/graphql`,
      GRAPHQL_TRANSPORT_WS_PROTOCOL,
      {
        perMessageDeflate: true,
      },
    )
    await once(socket, 'open')
    expect(socket.extensions).toBe('')
    socket.terminate()
  })

  test('answers a ping with a pong', async () => {
    using socket = await openReadySocket(gateway.url)
    socket.send({ type: 'ping', payload: { at: 1 } })
    expect(await socket.next()).toEqual({ type: 'pong', payload: { at: 1 } })
  })

  test('closes with the code that the protocol has for each fault', async () => {
    const cases: [number, (socket: Awaited<ReturnType<typeof openSocket>>) => void][] = [
      [4400, (socket) => socket.send('not json')],
      [4400, (socket) => socket.send({ type: 'nonsense' })],
      [4400, (socket) => socket.send({ type: 'connection_ack' })],
      [4400, (socket) => socket.send({ type: 'next', id: '1', payload: {} })],
      [4401, (socket) => socket.send(subscribe('x', {}, '{ __typename }'))],
      [
        4429,
        (socket) => {
          socket.send({ type: 'connection_init' })
          socket.send({ type: 'connection_init' })
        },
      ],
      [1009, (socket) => socket.send('x'.repeat(65 * 1024))],
    ]
    for (const [code, misbehave] of cases) {
      using socket = await openSocket(gateway.url)
      misbehave(socket)
      expect((await socket.closed)[0]).toBe(code)
    }
    using other = await openSocket(gateway.url, [])
    expect((await other.closed)[0]).toBe(4406)
    using twice = await openReadySocket(gateway.url)
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, {
      input: { taskId: 'sandbox-lost', imageIndex: 0 },
    })
    for (const _time of [1, 2]) twice.send(subscribe('same', { id: data?.upscaleImage?.task?.id }))
    expect((await twice.closed)[0]).toBe(4409)
  })

  test('closes with 4408 when connection_init has not come within ten seconds', async () => {
    const clock = new ManualClock()
    await using manual = await startGateway({}, { clock })
    using socket = await openSocket(manual.url)
    using late = await openSocket(manual.url)
    clock.advance(9_999)
    late.send({ type: 'connection_init' })
    expect(await late.next()).toEqual({ type: 'connection_ack' })
    clock.advance(1)
    expect(await socket.closed).toEqual([4408, 'Connection initialisation timeout'])
    expect(late.socket.readyState).toBe(late.socket.OPEN)
  })

  test('is served at /graphql only', async () => {
    const socket = new WebSocket(
      `${gateway.url.replace('http', 'ws')}/elsewhere`,
      GRAPHQL_TRANSPORT_WS_PROTOCOL,
    )
    const [error] = (await once(socket, 'error')) as [Error]
    expect(error.message).toContain('404')
  })

  test('gets the answer to a mutation that runs when the service ends, and begins no other', async () => {
    await using upstream = await startScriptedUpstream()
    const asked = Promise.withResolvers<() => void>()
    upstream.onCreate = (response) =>
      asked.resolve(() => json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, {} as never))
    const closing = await startGateway({ UPSTREAM_URL: upstream.url, DRAIN_MS: '60000' })
    using socket = await openReadySocket(closing.url)
    using idle = await openReadySocket(closing.url)
    const mutation = (taskId: string) =>
      `mutation { upscaleImage(input: { taskId: "${taskId}", imageIndex: 0 }) { task { status } } }`
    socket.send(subscribe('running', {}, mutation('a')))
    const answer = await asked.promise
    const ended = closing[Symbol.asyncDispose]()
    expect((await idle.closed)[0]).toBe(1001)
    socket.send(subscribe('late', {}, mutation('b')))
    expect(await socket.next()).toMatchObject({
      id: 'late',
      type: 'error',
      payload: [{ extensions: { code: 'SERVICE_UNAVAILABLE', retryable: true } }],
    })
    answer()
    expect(await socket.next()).toMatchObject({
      id: 'running',
      payload: { data: { upscaleImage: { task: { status: 'PROCESSING' } } } },
    })
    expect((await socket.closed)[0]).toBe(1001)
    await ended
    expect(upstream.received.filter(({ method }) => method === 'POST')).toHaveLength(1)
  })

  test('is told with 1001 when the service ends', async () => {
    const closing = await startGateway()
    using socket = await openReadySocket(closing.url)
    await closing[Symbol.asyncDispose]()
    expect(await socket.closed).toEqual([1001, 'Going away'])
  })
})
