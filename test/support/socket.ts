import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect } from '@jest/globals'
import { GRAPHQL_TRANSPORT_WS_PROTOCOL } from 'graphql-ws'
import { WebSocket } from 'ws'

/** A socket on which a test speaks the protocol frame by frame. */
export async function openSocket(url: string, protocols = [GRAPHQL_TRANSPORT_WS_PROTOCOL]) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, protocols)
  const frames: Record<string, unknown>[] = []
  let arrived = Promise.withResolvers<void>()
  socket.on('message', (data) => {
    frames.push(JSON.parse((data as Buffer).toString()) as Record<string, unknown>)
    arrived.resolve()
    arrived = Promise.withResolvers()
  })
  const closed = once(socket, 'close').then(([code, reason]) => [code as number, String(reason)] as const)
  await once(socket, 'open')
  return {
    socket,
    frames,
    closed,
    send: (frame: unknown) => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    async next() {
      while (frames.length === 0) await arrived.promise
      return frames.shift()
    },
    [Symbol.dispose]: () => socket.terminate(),
  }
}

/** One that has been let in. */
export async function openReadySocket(url: string, payload?: object) {
  const socket = await openSocket(url)
  socket.send({ type: 'connection_init', ...(payload && { payload }) })
  expect(await socket.next()).toEqual({ type: 'connection_ack' })
  return socket
}

/** A message as a client sends it over TCP (RFC 6455 §5): masked, with zeros. */
export function toClientFrame(text: string, opcode = 1): Buffer {
  const payload = Buffer.from(text)
  const { length } = payload
  const head = Buffer.alloc(length < 126 ? 6 : length < 65_536 ? 8 : 14)
  head[0] = 0x80 | opcode
  head[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127)
  if (head.length === 8) head.writeUInt16BE(length, 2)
  if (head.length === 14) head.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([head, payload])
}

/**
 * A TCP connection that has been upgraded: it answers nothing by itself, and reads only what a test reads.
 */
export async function openRawSocket(url: string): Promise<Socket> {
  const { port, host } = new URL(url)
  const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined)
  socket.write(
    `GET /graphql HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ${GRAPHQL_TRANSPORT_WS_PROTOCOL}\r\n\r\n`,
  )
  await once(socket, 'readable')
  socket.read()
  return socket
}
