/** Subscribers that cost the load as little as can be: graphql-transport-ws on a bare TCP socket. */
import { randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'

const QUERY =
  'subscription ($id: ID!) { taskUpdated(id: $id) { id status version images { url } createdAt } }'
const UPGRADE = [
  'GET /graphql HTTP/1.1',
  'Host: 127.0.0.1',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Protocol: graphql-transport-ws',
].join('\r\n')
const TEXT = 1
const PING = 9
const PONG = 10

/** Counts what all subscribers of a run are sent. */
export class Audience {
  readonly #port: number
  readonly #sockets = new Set<Socket>()
  #events = 0
  #awaited = Infinity
  #onReached: (() => void) | undefined
  /** Told of each event, by the task's id; for the measures that look at single ones. */
  onEvent: ((taskId: string) => void) | undefined

  constructor(port: number) {
    this.#port = port
  }

  /** Opens one socket with one subscription for each id; resolves when each has its first state. */
  async follow(ids: readonly string[]): Promise<void> {
    const AT_ONCE = 200
    for (let at = 0; at < ids.length; at += AT_ONCE)
      await Promise.all(ids.slice(at, at + AT_ONCE).map((id) => this.#open(id)))
  }

  /** Resolves when so many more events have come. */
  expect(count: number): Promise<void> {
    this.#awaited = this.#events + count
    return new Promise((resolve) => (this.#onReached = resolve))
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #count(taskId: string): void {
    this.#events += 1
    this.onEvent?.(taskId)
    if (this.#events === this.#awaited) this.#onReached?.()
  }

  #open(taskId: string): Promise<void> {
    const { promise: opened, resolve, reject } = Promise.withResolvers<void>()
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true })
    this.#sockets.add(socket)
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('A subscriber was cut off')))
    socket.write(`${UPGRADE}\r\n\r\n`)
    let upgraded = false
    let frames = 0
    let rest: Buffer | undefined
    const onText = (start: number, end: number, chunk: Buffer) => {
      frames += 1
      if (frames === 1) {
        const payload = { query: QUERY, variables: { id: taskId } }
        send(socket, TEXT, JSON.stringify({ id: randomUUID(), type: 'subscribe', payload }))
        return
      }
      if (frames > 2) {
        this.#count(taskId)
        return
      }
      const text = chunk.toString('utf8', start, end)
      if (text.includes('"next"') && !text.includes('"errors"')) resolve()
      else reject(new Error(`Not a state: ${text}`))
    }
    socket.on('data', (data: Buffer) => {
      let chunk = rest === undefined ? data : Buffer.concat([rest, data])
      rest = undefined
      if (!upgraded) {
        const end = chunk.indexOf('\r\n\r\n')
        if (end < 0) {
          rest = chunk
          return
        }
        if (!chunk.toString('latin1', 0, end).startsWith('HTTP/1.1 101'))
          reject(new Error(chunk.toString('latin1', 0, end)))
        upgraded = true
        chunk = chunk.subarray(end + 4)
        send(socket, TEXT, '{"type":"connection_init"}')
      }
      let at = 0
      while (chunk.length - at >= 2) {
        let length = (chunk[at + 1] ?? 0) & 127
        let head = 2
        if (length === 126) {
          if (chunk.length - at < 4) break
          length = chunk.readUInt16BE(at + 2)
          head = 4
        }
        const end = at + head + length
        if (end > chunk.length) break
        const opcode = (chunk[at] ?? 0) & 15
        if (opcode === TEXT) onText(at + head, end, chunk)
        else if (opcode === PING) send(socket, PONG, '')
        at = end
      }
      if (at < chunk.length) rest = Buffer.from(chunk.subarray(at))
    })
    return opened
  }
}

/** One frame from a client: masked (RFC 6455 §5.3), with a mask of zeros. */
function send(socket: Socket, opcode: number, text: string): void {
  const body = Buffer.from(text)
  const short = body.length < 126
  const head = Buffer.alloc(short ? 6 : 8)
  head[0] = 128 | opcode
  head[1] = 128 | (short ? body.length : 126)
  if (!short) head.writeUInt16BE(body.length, 2)
  socket.write(Buffer.concat([head, body]))
}
