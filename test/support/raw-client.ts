import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** A client that sends bytes as they are. */
export interface RawClient extends Disposable {
  readonly socket: Socket
  /** What has come so far. */
  text(): string
  write(bytes: string): void
  /** Resolves when the connection is closed on both sides, in good order or by a reset. */
  readonly closed: Promise<void>
  /** Resolves once what has come matches. */
  until(pattern: RegExp): Promise<string>
  /** Resolves with all that has come once the server has ended the connection. */
  ended(): Promise<string>
}

/** `keepsOpen`: the client does not close its side when the server has closed its own. */
export async function openRaw(url: string, bytes = '', keepsOpen = false): Promise<RawClient> {
  const { hostname, port } = new URL(url)
  const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: keepsOpen })
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
  await once(socket, 'connect')
  const isOver = new Promise<void>((resolve) => {
    for (const event of ['end', 'error', 'close']) socket.once(event, () => resolve())
  })
  socket.on('error', () => undefined)
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.write(bytes)
  return {
    socket,
    closed,
    text: () => text,
    write: (more) => void socket.write(more),
    until: async (pattern) => {
      while (!pattern.test(text)) await once(socket, 'data')
      return text
    },
    ended: () => isOver.then(() => text),
    [Symbol.dispose]: () => void socket.destroy(),
  }
}

/** A POST of JSON. `declared`: the Content-Length, where it is not the length of the body. */
export function toPost(path: string, body: string, declared = Buffer.byteLength(body)): string {
  const head = ['Host: localhost', 'Content-Type: application/json', `Content-Length: ${declared}`]
  return `POST ${path} HTTP/1.1\r\n${head.join('\r\n')}\r\n\r\n${body}`
}

export function toGet(path: string, headers: Record<string, string> = {}): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${lines.join('')}\r\n`
}
