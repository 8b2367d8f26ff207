/** Bytes on the wire for one event, counted by a proxy between the client and the service. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { createClient } from 'graphql-ws'
import { Pool, request } from 'undici'
import { WebSocket } from 'ws'
import type { Running } from './contender.ts'
import { callBack } from './measures.ts'

/** What a page shows of a task. */
const QUERY = `subscription ($id: ID!) { taskUpdated(id: $id) {
  id status version updatedAt images { url expiresAt } problem { code message } } }`

export interface WireBytes {
  readonly transport: string
  /** A state of a task that runs. */
  readonly running: number
  /** The last state, with one image, and what ends the subscription. */
  readonly succeeded: number
}

/** Follows a task at a port, and calls `onEvent` for each event; resolves when the subscription has ended. */
type Follow = (port: number, id: string, onEvent: () => void) => Promise<void>

const TRANSPORTS: Readonly<Record<string, Follow>> = {
  'graphql-ws': followBySocket,
  'server-sent events': followByEventStream,
}

export async function countWireBytes(running: Running): Promise<readonly WireBytes[]> {
  const counted: WireBytes[] = []
  for (const [transport, follow] of Object.entries(TRANSPORTS))
    counted.push(await count(running, transport, follow))
  return counted
}

async function count(running: Running, transport: string, follow: Follow): Promise<WireBytes> {
  const STATES = 20
  await using proxy = await startCountingProxy(running.port)
  const [task] = await running.tasks(1)
  if (task === undefined) throw new Error('No task was made')
  let onEvent: (() => void) | undefined
  const arrival = () => new Promise<void>((resolve) => (onEvent = resolve))
  const first = arrival()
  const ended = follow(proxy.port, task.id, () => onEvent?.())
  await first
  const before = proxy.sent()
  for (let n = 0; n < STATES; n += 1) {
    const arrived = arrival()
    await running.publish([task.id])
    await arrived
  }
  const between = proxy.sent()
  const pool = new Pool(`http://127.0.0.1:${running.port}`)
  await callBack(pool, task)
  await ended
  await pool.close()
  return { transport, running: (between - before) / STATES, succeeded: proxy.sent() - between }
}

async function followBySocket(port: number, id: string, onEvent: () => void): Promise<void> {
  const client = createClient({
    url: `ws://127.0.0.1:${port}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
  })
  await new Promise<void>((resolve, reject) => {
    client.subscribe(
      { query: QUERY, variables: { id } },
      { next: onEvent, error: (error) => reject(new Error(JSON.stringify(error))), complete: resolve },
    )
  })
  await client.dispose()
}

async function followByEventStream(port: number, id: string, onEvent: () => void): Promise<void> {
  const { statusCode, body } = await request(`http://127.0.0.1:${port}/graphql/stream`, {
    method: 'POST',
    headers: { accept: 'text/event-stream', 'content-type': 'application/json' },
    body: JSON.stringify({ query: QUERY, variables: { id } }),
  })
  if (statusCode !== 200) throw new Error(`The stream was answered with ${statusCode}: ${await body.text()}`)
  for await (const chunk of body) if (String(chunk).includes('event: next')) onEvent()
}

/** Counts what the service sends to clients of the proxy. */
async function startCountingProxy(to: number) {
  let sent = 0
  const open = new Set<Socket>()
  const server = createServer((client) => {
    const service = connect(to, '127.0.0.1')
    service.on('data', (chunk) => (sent += chunk.length))
    client.pipe(service).pipe(client)
    for (const socket of [client, service]) {
      open.add(socket)
      socket.on('error', () => socket.destroy())
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    sent: () => sent,
    async [Symbol.asyncDispose]() {
      server.close()
      for (const socket of open) socket.destroy()
      await once(server, 'close')
    },
  }
}
