import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { describe, expect, test } from '@jest/globals'
import { print } from 'graphql'
import { SignJWT } from 'jose'
import { WebSocket, WebSocketServer } from 'ws'
import { SocketWire } from '../../src/http/socket-wire.ts'
import { FollowTaskDocument } from '../generated/operations.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { openScene } from '../support/scene.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openRawSocket, openReadySocket, openSocket, toClientFrame } from '../support/socket.ts'

const SECRET = 'a secret that is long enough for HS256'
const CLOSE = 8
const PING = 9

async function sign(sub: string, expiresAt: number): Promise<string> {
  const token = await new SignJWT({ sub })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime(Math.floor(expiresAt / 1_000))
    .sign(new TextEncoder().encode(SECRET))
  return `Bearer ${token}`
}

const MUTATION = 'mutation { upscaleImage(input: { taskId: "x", imageIndex: 0 }) { replayed } }'
const subscribe = (id: string, query: string, variables: object = {}) => ({
  id,
  type: 'subscribe',
  payload: { query, variables },
})
const follow = (id: string, taskId: string, watchToken?: string | null) =>
  subscribe(
    id,
    'subscription ($id: ID!, $watchToken: String) { taskUpdated(id: $id, watchToken: $watchToken) { version } }',
    { id: taskId, ...(watchToken != null && { watchToken }) },
  )

async function gauge({ url }: Pick<Gateway, 'url'>, name: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(metrics)?.[1])
}

/** One that has been let in, and what the server has sent on it since. */
async function openRawReadySocket(url: string) {
  const socket = await openRawSocket(url)
  socket.write(toClientFrame('{"type":"connection_init"}'))
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
  // A frame may arrive in several pieces.
  while (!text.includes('"connection_ack"}')) await once(socket, 'data')
  text = ''
  return { socket, text: () => text }
}

async function until(check: () => Promise<boolean>): Promise<void> {
  while (!(await check())) await new Promise(setImmediate)
}

describe('after its close frame a socket runs nothing', () => {
  const FAULTS: [string, number, string[]][] = [
    ['a message that is not one', 4400, ['not json']],
    ['a token that is not good', 4401, [JSON.stringify({ type: 'ping', payload: { authorization: 'x' } })]],
    ['a second connection_init', 4429, ['{"type":"connection_init"}']],
  ]
  test.each(FAULTS)('%s: %i', async (_name, code, messages) => {
    await using upstream = await startScriptedUpstream()
    await using gateway = await startGateway({ UPSTREAM_URL: upstream.url, AUTH_JWT_SECRET: SECRET })
    const socket = await openRawSocket(gateway.url)
    let read = Buffer.alloc(0)
    const authorization = await sign('alice', Date.now() + 60_000)
    const init = JSON.stringify({ type: 'connection_init', payload: { authorization } })
    const closeFrame = Buffer.from([0x88, 0, code >> 8, code & 255])
    const closing = new Promise<void>((resolve) =>
      socket.on('data', (chunk: Buffer) => {
        read = Buffer.concat([read, chunk])
        if (read.includes('connection_ack') && !read.includes('sent')) {
          read = Buffer.from('sent')
          for (const message of messages) socket.write(toClientFrame(message))
        }
        if (read.includes(closeFrame.subarray(2))) resolve()
      }),
    )
    socket.write(toClientFrame(init))
    await closing
    const closed = once(socket, 'close')
    socket.write(toClientFrame(JSON.stringify(subscribe('1', MUTATION))))
    socket.write(toClientFrame(String.fromCharCode(3, 0x68), CLOSE))
    await closed
    expect(upstream.received).toEqual([])
  })

  test.each([
    ['before', [JSON.stringify(subscribe('1', MUTATION)), 'not json']],
    ['after', ['not json', JSON.stringify(subscribe('1', MUTATION))]],
  ])('nor what comes in one packet with the fault, %s it', async (_place, messages) => {
    await using upstream = await startScriptedUpstream()
    await using gateway = await startGateway({ UPSTREAM_URL: upstream.url })
    const { socket, text } = await openRawReadySocket(gateway.url)
    socket.write(Buffer.concat(messages.map((message) => toClientFrame(message))))
    await until(() => Promise.resolve(text().includes('Invalid message received')))
    // One that is stored after it, if it was run.
    await gateway.run('HTTP', MUTATION.replace('"x"', '"after"'))
    const { data } = await gateway.run<object, never>(
      'HTTP',
      '{ upscaleTasks { edges { node { source { id } } } } }',
    )
    expect(data).toEqual({ upscaleTasks: { edges: [{ node: { source: { id: 'after' } } }] } })
    socket.destroy()
  })

  test('nor is a token verified', async () => {
    await using gateway = await startGateway({ AUTH_JWT_SECRET: SECRET })
    const socket = await openRawSocket(gateway.url)
    const init = '{"type":"connection_init","payload":{"authorization":"garbage"}}'
    socket.write(Buffer.concat(['not json', init].map((message) => toClientFrame(message))))
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    while (!text.includes('Invalid message received')) await once(socket, 'data')
    await gauge(gateway, 'upscale_sockets_open')
    expect(gateway.log()).not.toContain('a token was refused')
    socket.destroy()
  })

  test('nor between the expiry of its token and the close frame', async () => {
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET })
    const { clock, gateway, upstream } = scene
    clock.advance(Date.now() - clock.now())
    const { id } = await scene.submit(await sign('alice', clock.now() + 600_000))
    using socket = await openReadySocket(gateway.url, {
      authorization: await sign('alice', clock.now() + 60_000),
    })
    socket.send(follow('1', id))
    await socket.next()
    clock.advance(61_000)
    expect(await socket.next()).toMatchObject({ id: '1', type: 'next' })
    socket.send(subscribe('2', MUTATION))
    expect(await socket.next()).toMatchObject({
      id: '2',
      type: 'error',
      payload: [{ extensions: { code: 'UNAUTHENTICATED' } }],
    })
    clock.advance(500)
    expect(await socket.closed).toEqual([4403, 'TOKEN_EXPIRED'])
    expect(upstream.received.filter(({ method }) => method === 'POST')).toHaveLength(1)
  })
})

describe('a client that does not read is terminated', () => {
  /**
   * Writes until the other side ends the connection, or far more than it and the system may hold has been
   * taken.
   */
  async function flood(socket: Socket, packet: Buffer): Promise<'ended' | 'taken'> {
    const closed = new Promise((resolve) => socket.once('close', resolve))
    for (let sent = 0; sent < 256 * 1024 * 1024; sent += packet.length) {
      if (socket.destroyed) return 'ended'
      if (socket.write(packet)) continue
      await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed])
      socket.removeAllListeners('drain')
    }
    return 'taken'
  }
  const text = JSON.stringify({ type: 'ping', payload: { pad: 'x'.repeat(60_000) } })
  const FLOODS: [string, Buffer][] = [
    ['pings of 60 KB before connection_init', toClientFrame(text)],
    ['ping frames', Buffer.concat(Array.from({ length: 500 }, () => toClientFrame('x'.repeat(125), PING)))],
    [
      'operations that are refused',
      // More than the server reads at once, because an id must not be used again before it is refused.
      Buffer.concat(
        Array.from({ length: 5_000 }, (_, n) => toClientFrame(JSON.stringify(subscribe(`${n}`, '{')))),
      ),
    ],
  ]
  test.each(FLOODS)('%s', async (name, packet) => {
    const isSubscribing = name.startsWith('operations')
    await using gateway = await startGateway()
    const socket = await openRawSocket(gateway.url)
    if (isSubscribing) {
      socket.write(toClientFrame('{"type":"connection_init"}'))
      await once(socket, 'readable')
      expect(String(socket.read())).toContain('connection_ack')
    }
    expect(await flood(socket, packet)).toBe('ended')
    await until(async () => (await gauge(gateway, 'upscale_sockets_open')) === 0)
    expect(gateway.log()).toContain('a socket was terminated: its client does not read')
  })
})

test('a client that reads late is sent every event, in order, however many wait', async () => {
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined }
  const sockets = new WebSocketServer({ noServer: true })
  await using http = await startHttp(sockets)
  const accepted = once(sockets, 'connection') as Promise<[WebSocket, Socket]>
  const client = new WebSocket(http.url)
  const [socket, stream] = await accepted
  await once(client, 'open')
  client.pause()
  const wire = new SocketWire(socket, stream, { log })
  const count = 5_000
  const sent = Array.from({ length: count }, (_, n) => wire.sendEvent(`${n} ${'x'.repeat(4_000)}`))
  expect(sent.at(-1)).toBeInstanceOf(Promise)
  const seen: number[] = []
  const all = new Promise<void>((resolve) =>
    client.on('message', (data) => {
      seen.push(Number.parseInt((data as Buffer).toString()))
      if (seen.length === count) resolve()
    }),
  )
  client.resume()
  await all
  for (const each of sent) await each
  expect(seen).toEqual(Array.from({ length: count }, (_, n) => n))
  expect(wire.sendEvent('x')).toBeUndefined()
  // What waits for a client that is gone is not waited for any longer.
  client.pause()
  const lost = Array.from({ length: count }, () => wire.sendEvent('x'.repeat(4_000)))
  client.terminate()
  for (const each of lost) await each
})

describe('operations of a socket', () => {
  test('are counted until they have ended, also when the client has completed them, and all end with it', async () => {
    await using scene = await openScene()
    const { gateway } = scene
    const { id } = await scene.submit()
    const { socket, text } = await openRawReadySocket(gateway.url)
    const frames = Array.from({ length: 300 }, (_, n) => [
      follow(`${n}`, id),
      { id: `${n}`, type: 'complete' },
    ]).flat()
    socket.write(Buffer.concat(frames.map((frame) => toClientFrame(JSON.stringify(frame)))))
    await until(() => Promise.resolve(text().includes('TOO_MANY_OPERATIONS')))
    expect(await gauge(gateway, 'upscale_subscriptions_open')).toBeLessThanOrEqual(100)
    await until(async () => (await gauge(gateway, 'upscale_subscriptions_open')) === 0)
    for (let n = 0; n < 100; n += 1) socket.write(toClientFrame(JSON.stringify(follow(`${n}`, id))))
    await until(async () => (await gauge(gateway, 'upscale_subscriptions_open')) === 100)
    socket.destroy()
    await until(async () => (await gauge(gateway, 'upscale_subscriptions_open')) === 0)
  })

  test('may be queries that the client has completed: those count, too', async () => {
    await using upstream = await startScriptedUpstream()
    const asked = Promise.withResolvers<() => void>()
    upstream.onLookup = (response) => asked.resolve(() => void response.end('{"code":200,"data":1}'))
    await using gateway = await startGateway({ UPSTREAM_URL: upstream.url, SOCKET_OPERATION_LIMIT: '1' })
    using socket = await openReadySocket(gateway.url)
    socket.send(subscribe('1', '{ upscaleService { credits } }'))
    const answer = await asked.promise
    socket.send({ id: '1', type: 'complete' })
    socket.send(subscribe('2', '{ __typename }'))
    expect(await socket.next()).toMatchObject({
      id: '2',
      payload: [{ extensions: { code: 'TOO_MANY_OPERATIONS' } }],
    })
    answer()
    await until(async () => (await gauge(gateway, 'upscale_subscriptions_open')) === 0)
    socket.send(subscribe('3', '{ __typename }'))
    expect(await socket.next()).toMatchObject({ id: '3', type: 'next' })
  })

  test('may have the id of one that the client has completed, once that has ended', async () => {
    await using upstream = await startScriptedUpstream()
    const asked = Promise.withResolvers<() => void>()
    upstream.onLookup = (response) => asked.resolve(() => void response.end('{"code":200,"data":1}'))
    await using gateway = await startGateway({ UPSTREAM_URL: upstream.url })
    using socket = await openReadySocket(gateway.url)
    socket.send(subscribe('1', '{ upscaleService { credits } }'))
    const answer = await asked.promise
    socket.send({ id: '1', type: 'complete' })
    socket.send(subscribe('1', '{ __typename }'))
    expect(await socket.next()).toMatchObject({
      id: '1',
      type: 'error',
      payload: [{ extensions: { code: 'BAD_REQUEST' } }],
    })
    answer()
    await until(async () => (await gauge(gateway, 'upscale_subscriptions_open')) === 0)
    socket.send(subscribe('1', '{ __typename }'))
    expect(await socket.next()).toEqual({ id: '1', type: 'next', payload: { data: { __typename: 'Query' } } })
    expect(await socket.next()).toEqual({ id: '1', type: 'complete' })
  })

  test('with one id in one packet are not confused', async () => {
    await using scene = await openScene()
    const { id } = await scene.submit()
    const { socket, text } = await openRawReadySocket(scene.gateway.url)
    const complete = { id: '1', type: 'complete' }
    const first = [subscribe('1', '{ first: __typename }'), complete, follow('1', id), complete]
    const frames = [...first, subscribe('1', '{ second: __typename }'), { type: 'ping' }]
    socket.write(Buffer.concat(frames.map((frame) => toClientFrame(JSON.stringify(frame)))))
    await until(() => Promise.resolve(text().includes('pong')))
    expect(text().match(/"type":"\w+"/g)).toEqual(['"type":"error"', '"type":"error"', '"type":"pong"'])
    await until(async () => (await gauge(scene.gateway, 'upscale_subscriptions_open')) === 0)
    socket.destroy()
  })

  test.each([
    ['long', 'x'.repeat(1_000)],
    ['of wide characters', '😀'.repeat(300)],
  ])('with an id that is in use close the socket with 4409, also when the id is %s', async (_name, id) => {
    await using scene = await openScene()
    const task = await scene.submit()
    using socket = await openReadySocket(scene.gateway.url)
    for (const _time of [1, 2]) socket.send(follow(id, task.id))
    const [code, reason] = await socket.closed
    expect(code).toBe(4409)
    expect(`Subscriber for ${id} already exists`.startsWith(reason)).toBe(true)
    expect(Buffer.byteLength(reason)).toBeGreaterThan(115)
  })
})

test.each(['ping', 'pong', 'connection_init', 'subscribe', 'complete', 'error', 'next'])(
  'JSON that is nested without end closes a socket with 4400, or is ignored: in %s',
  async (type) => {
    await using gateway = await startGateway()
    for (const deep of [
      `${'['.repeat(30_000)}${']'.repeat(30_000)}`,
      `{"a":${'{"a":'.repeat(9_000)}1${'}'.repeat(9_001)}`,
    ]) {
      using socket = await openSocket(gateway.url)
      if (type !== 'connection_init') {
        socket.send({ type: 'connection_init' })
        await socket.next()
      }
      socket.send(`{"type":"${type}","id":"1","payload":${deep}}`)
      socket.send('{"type":"ping"}')
      const first = await Promise.race([socket.closed, socket.next()])
      if (Array.isArray(first)) expect(first).toEqual([4400, 'Invalid message received'])
      else expect(first).toMatchObject({ type: /pong|connection_ack/.exec(JSON.stringify(first))?.[0] })
    }
    expect(gateway.log()).not.toContain('unexpectedly')
  },
)

describe('guests are counted by the task of their watch token', () => {
  const settings = { AUTH_JWT_SECRET: SECRET, OWNER_SOCKET_LIMIT: '2', SOCKET_OPERATION_LIMIT: '2' }
  async function open(more: Record<string, string> = {}) {
    const scene = await openScene({ ...settings, ...more })
    scene.clock.advance(Date.now() - scene.clock.now())
    const alice = await sign('alice', scene.clock.now() + 600_000)
    return { scene, alice, one: await scene.submit(alice), other: await scene.submit(alice) }
  }
  async function connect(url: string, payload: object) {
    const socket = await openSocket(url)
    socket.send({ type: 'connection_init', payload })
    return { ...socket, first: await Promise.race([socket.closed, socket.next()]) }
  }
  const LET_IN = { type: 'connection_ack' }
  const TOO_MANY = [1013, 'TOO_MANY_SOCKETS']

  test('on sockets that a watch token has opened', async () => {
    const { scene, alice, one, other } = await open()
    await using _ = scene
    const { url } = scene.gateway
    using first = await connect(url, { watchToken: one.watchToken })
    using second = await connect(url, { watchToken: one.watchToken })
    expect([first.first, second.first]).toEqual([LET_IN, LET_IN])
    expect((await connect(url, { watchToken: one.watchToken })).first).toEqual(TOO_MANY)
    using otherTask = await connect(url, { watchToken: other.watchToken })
    using owner = await connect(url, { authorization: alice })
    expect([otherTask.first, owner.first]).toEqual([LET_IN, LET_IN])
    first.socket.close()
    await first.closed
    using again = await connect(url, { watchToken: one.watchToken })
    expect(again.first).toEqual(LET_IN)
  })

  test('on sockets without any token, which have a limit of their own', async () => {
    const { scene, one, other } = await open({ GUEST_SOCKETS: 'on', GUEST_SOCKET_LIMIT: '3' })
    await using _ = scene
    const { url } = scene.gateway
    const sockets = [await connect(url, {}), await connect(url, {}), await connect(url, {})]
    expect((await connect(url, {})).first).toEqual(TOO_MANY)
    const [a, b, c] = sockets
    if (!a || !b || !c) throw new Error('Not open')
    const version = { payload: { data: { taskUpdated: { version: 2 } } } }
    for (const socket of [a, b]) {
      socket.send(follow('1', one.id, one.watchToken))
      expect(await socket.next()).toMatchObject(version)
    }
    c.send(follow('1', one.id, one.watchToken))
    expect(await c.next()).toMatchObject({
      payload: { errors: [{ extensions: { code: 'TOO_MANY_OPERATIONS' } }] },
    })
    expect(await c.next()).toEqual({ id: '1', type: 'complete' })
    c.send(follow('2', other.id, other.watchToken))
    expect(await c.next()).toMatchObject(version)
    a.send({ id: '1', type: 'complete' })
    a.send({ type: 'ping' })
    expect(await a.next()).toEqual({ type: 'pong' })
    b.send(follow('2', one.id, one.watchToken))
    expect(await b.next()).toMatchObject(version)
    b.socket.terminate()
    await until(async () => (await gauge(scene.gateway, 'upscale_sockets_open')) === 2)
    c.send(follow('3', one.id, one.watchToken))
    expect(await c.next()).toMatchObject(version)
    for (const { socket } of sockets) socket.terminate()
  })

  test('on event streams', async () => {
    const { scene, alice, one, other } = await open()
    await using _ = scene
    const streams: AbortController[] = []
    const stream = async (
      { id, watchToken }: { id: string; watchToken: string | null },
      headers: object = {},
    ) => {
      const gone = new AbortController()
      streams.push(gone)
      const response = await fetch(`${scene.gateway.url}/graphql/stream`, {
        method: 'POST',
        headers: { accept: 'text/event-stream', 'content-type': 'application/json', ...headers },
        body: JSON.stringify({
          query: print(FollowTaskDocument).replace(
            'id: $id',
            `id: $id, watchToken: ${JSON.stringify(watchToken)}`,
          ),
          variables: { id },
        }),
        signal: gone.signal,
      })
      let text = ''
      const reader = response.body?.getReader()
      while (!text.includes('data: {')) text += Buffer.from((await reader?.read())?.value ?? []).toString()
      return text
    }
    expect(await stream(one)).toContain('"version":2')
    expect(await stream(one)).toContain('"version":2')
    expect(await stream(one)).toContain('TOO_MANY_OPERATIONS')
    expect(await stream(other)).toContain('"version":2')
    expect(await stream(one, { authorization: alice })).toContain('"version":2')
    streams[0]?.abort()
    await until(async () => (await gauge(scene.gateway, 'upscale_http_streams_open')) < 4)
    expect(await stream(one)).toContain('"version":2')
    for (const each of streams) each.abort()
  })
})

async function startHttp(sockets: WebSocketServer) {
  const server = createServer()
  server.on('upgrade', (request, stream, head) =>
    sockets.handleUpgrade(request, stream, head, (socket) => void sockets.emit('connection', socket, stream)),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate()
      server.close()
      await once(server, 'close')
    },
  }
}
