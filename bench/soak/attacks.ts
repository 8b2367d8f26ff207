/**
 * Hostile connections, one function per kind. Each opens one connection (or a few), lives for seconds, and
 * ends.
 */
import { randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/** What is attacked: always a loopback address. */
export interface Target {
  readonly port: number
  readonly taskId: string
  readonly watchToken: string
}

export interface Attack {
  readonly name: string
  /** Of the 300 connections that are open at once. */
  readonly share: number
  run(target: Target): Promise<void>
}

const HEAD = 'Host: 127.0.0.1\r\n'
const UPGRADE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n'
const SOCKET = `GET /graphql HTTP/1.1\r\n${HEAD}${UPGRADE}`

/** Opens a connection that keeps its own side open, so that only the server can end it. */
function open({ port }: Target, bytes: string | Buffer, reads: boolean): Socket {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  // Being refused or cut off is what is expected of the server.
  socket.on('error', () => socket.destroy())
  if (reads) socket.resume()
  socket.write(bytes)
  return socket
}

/** Holds a connection for so many seconds, doing something in each of them. */
async function hold(socket: Socket, seconds: number, each: () => void = () => undefined): Promise<void> {
  for (let second = 0; second < seconds && !socket.destroyed; second += 1) {
    if (socket.writable) each()
    await pause(1_000)
  }
  socket.destroy()
}

/** A masked text frame whose mask is zero. */
function toFrame(message: object): Buffer {
  const payload = Buffer.from(JSON.stringify(message))
  const head = payload.length < 126 ? Buffer.alloc(6) : Buffer.alloc(8)
  head[0] = 0x81
  head[1] = 0x80 | (payload.length < 126 ? payload.length : 126)
  if (payload.length >= 126) head.writeUInt16BE(payload.length, 2)
  return Buffer.concat([head, payload])
}

function toPost(body: object): string {
  const text = JSON.stringify(body)
  const length = `Content-Length: ${Buffer.byteLength(text)}`
  return `POST /graphql HTTP/1.1\r\n${HEAD}Content-Type: application/json\r\n${length}\r\n\r\n${text}`
}

const get = (path: string, accept = '*/*') => `GET ${path} HTTP/1.1\r\n${HEAD}Accept: ${accept}\r\n\r\n`

/** Sends a request, or a series of them, and reads nothing. */
const unread = (name: string, share: number, bytes: string): Attack => ({
  name,
  share,
  run: (target) => hold(open(target, bytes, false), 6),
})

/** Sends the beginning of a request, then a byte each second, and reads nothing. */
const slow = (name: string, share: number, bytes: string): Attack => ({
  name,
  share,
  async run(target) {
    const socket = open(target, bytes, false)
    await hold(socket, 25, () => socket.write('x'))
  },
})

const PING = toFrame({ type: 'ping', payload: { filler: 'x'.repeat(60_000) } })
const LIST = `{ ${Array.from({ length: 20 }, (_, n) => `a${n}: upscaleTasks(first: 1, status: SUCCEEDED) { edges { node { id } } }`).join(' ')} }`
const UPSCALE =
  'mutation ($key: String!) { upscaleImage(input: { taskId: "hostile", imageIndex: 0, idempotencyKey: $key }) { replayed } }'
const FOLLOW =
  'subscription ($id: ID!, $token: String) { taskUpdated(id: $id, watchToken: $token) { status } }'
const CONNECTION_INIT = toFrame({ type: 'connection_init' })

const toSubscribe = ({ taskId, watchToken }: Target, id: string) =>
  toFrame({
    type: 'subscribe',
    id,
    payload: { query: FOLLOW, variables: { id: taskId, token: watchToken } },
  })

export const ATTACKS: readonly Attack[] = [
  {
    name: 'WebSocket pings of 60 KB before connection_init, never read',
    share: 40,
    async run(target) {
      const socket = open(target, SOCKET, false)
      const burst = Buffer.concat(Array.from({ length: 10 }, () => PING))
      await hold(socket, 6, () => socket.write(burst))
    },
  },
  slow('slow headers', 30, `GET /graphql HTTP/1.1\r\n${HEAD}X: `),
  slow('slow bodies', 30, toPost({ query: 'x'.repeat(1_000) }).slice(0, -900)),
  unread('refused upgrades', 20, `GET /other HTTP/1.1\r\n${HEAD}${UPGRADE}`),
  unread('bad request lines', 20, 'nonsense\r\n\r\n'),
  unread("GraphiQL's page", 20, get('/graphql', 'text/html')),
  unread('metrics, pipelined', 10, get('/metrics').repeat(10)),
  unread('lists, pipelined', 20, toPost({ query: LIST }).repeat(5)),
  {
    name: 'subscribe and complete with one id in one packet',
    share: 20,
    async run(target) {
      const socket = open(target, Buffer.concat([Buffer.from(SOCKET)]), true)
      const pair = [toSubscribe(target, 'same'), toFrame({ type: 'complete', id: 'same' })]
      const packet = Buffer.concat(Array.from({ length: 50 }, () => pair).flat())
      await pause(500)
      socket.write(CONNECTION_INIT)
      await hold(socket, 6, () => socket.write(packet))
    },
  },
  {
    name: 'sockets with ten subscriptions on one watch token',
    share: 40,
    async run(target) {
      const socket = open(target, SOCKET, true)
      await pause(500)
      const subscribes = Array.from({ length: 10 }, (_, n) => toSubscribe(target, String(n)))
      socket.write(Buffer.concat([CONNECTION_INIT, ...subscribes]))
      await hold(socket, 10)
    },
  },
  {
    name: 'event streams on one watch token',
    share: 20,
    async run(target) {
      const { taskId: id, watchToken: token } = target
      const query = new URLSearchParams({ query: FOLLOW, variables: JSON.stringify({ id, token }) })
      await hold(open(target, get(`/graphql/stream?${query.toString()}`, 'text/event-stream'), true), 10)
    },
  },
  {
    name: 'replays with ever new idempotency keys',
    share: 10,
    async run(target) {
      const replay = () => toPost({ query: UPSCALE, variables: { key: randomUUID() } })
      const socket = open(target, replay(), true)
      await hold(socket, 10, () => socket.write(replay() + replay()))
    },
  },
  {
    name: '60 KB of bad variables, never read',
    share: 20,
    async run(target) {
      const bad = Object.fromEntries(Array.from({ length: 3_000 }, (_, n) => [`bad${n}`, n]))
      const query = 'mutation ($i: UpscaleImageInput!) { upscaleImage(input: $i) { replayed } }'
      await hold(open(target, toPost({ query, variables: { i: bad } }), false), 3)
    },
  },
]
