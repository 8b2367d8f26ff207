import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import type { Log } from '../tasks/ports.ts'

/** Bytes that may queue behind the message being sent. A client that leaves more unread is terminated. */
const MAX_UNSENT_BYTES = 1024 * 1024
/** The close code of a stopping server (RFC 6455 §7.4.1). */
export const GOING_AWAY = 1001
/** RFC 6455 §5.5: a control frame holds 125 bytes, and two of a close frame's are the code. */
const MAX_REASON_BYTES = 123
const NOTHING = Buffer.alloc(0)
const TEXT = { binary: false }

interface WireOptions {
  readonly log: Log
  /** Makes the frames of text messages; absent: `ws` does. */
  readonly toTextFrame?: ((text: string) => Buffer) | undefined
}

/**
 * The sending side of a socket: every write goes through here, so that memory is bounded. Events wait until
 * the socket has drained; everything else is written at once, and the socket is terminated when too much of
 * it is unsent.
 */
export class SocketWire {
  readonly #socket: WebSocket
  readonly #stream: Duplex
  readonly #log: Log
  readonly #toTextFrame: WireOptions['toTextFrame']
  #maxUnsent = MAX_UNSENT_BYTES
  /** The writes that wait for the stream to drain, in order. */
  #turns: (() => void)[] | undefined
  #holds = 0
  #closedWith: number | null = null

  constructor(socket: WebSocket, stream: Duplex, { log, toTextFrame }: WireOptions) {
    this.#socket = socket
    this.#stream = stream
    this.#log = log
    this.#toTextFrame = toTextFrame
  }

  /** False as soon as a close frame has been sent or received. */
  get isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN
  }

  /** The code with which this side has closed the socket; null: it has not. */
  get closedWith(): number | null {
    return this.#closedWith
  }

  /** Sends a message at once. */
  send(text: string): void {
    if (!this.isOpen) return
    const data = this.#toTextFrame?.(text) ?? Buffer.from(text)
    if (!this.#mayWrite(data.length)) return
    if (this.#toTextFrame) this.#stream.write(data)
    else this.#socket.send(data, TEXT)
  }

  /**
   * Sends a message once the socket has drained. Resolves when the message has left; undefined: it has left
   * already.
   */
  sendEvent(text: string): Promise<void> | undefined {
    if (this.#turns !== undefined || this.#stream.writableLength > 0)
      return new Promise((resolve) =>
        this.#inTurn(() => {
          this.send(text)
          this.#inTurn(resolve)
        }),
      )
    this.send(text)
    return this.#stream.writableLength === 0 ? undefined : new Promise((resolve) => this.#inTurn(resolve))
  }

  /** Answers a ping frame. */
  pong(data: Buffer): void {
    if (this.isOpen && this.#mayWrite(data.length)) this.#socket.pong(data)
  }

  /** Closes the socket. Later messages are not read. */
  close(code: number, reason: string): void {
    if (!this.isOpen) return
    this.#closedWith = code
    this.#socket.close(code, toCloseReason(reason))
  }

  /** Reads nothing from the client until this has settled. Does not reject. */
  async hold(until: Promise<void>): Promise<void> {
    this.#holds += 1
    this.#socket.pause()
    try {
      await until
    } finally {
      this.#holds -= 1
      if (this.#holds === 0) this.#socket.resume()
    }
  }

  /** One message may exceed the limit; the queue behind it may not. */
  #mayWrite(bytes: number): boolean {
    const unsent = this.#stream.writableLength
    if (unsent === 0) this.#maxUnsent = bytes + MAX_UNSENT_BYTES
    else if (unsent + bytes > this.#maxUnsent) {
      this.#log.info({ unsent }, 'a socket was terminated: its client does not read')
      // The kernel drops its unsent bytes only after a reset.
      if (this.#stream instanceof Socket) this.#stream.resetAndDestroy()
      this.#socket.terminate()
      return false
    }
    return true
  }

  #inTurn(turn: () => void): void {
    if (this.#turns !== undefined) {
      this.#turns.push(turn)
      return
    }
    this.#turns = [turn]
    this.#takeTurns(this.#turns)
  }

  /** Node calls back after an empty write when all earlier bytes have left, or the stream is destroyed. */
  #takeTurns(turns: (() => void)[]): void {
    const take = () => {
      while (this.#isDrained()) {
        const turn = turns.shift()
        if (turn === undefined) {
          this.#turns = undefined
          return
        }
        turn()
      }
      this.#takeTurns(turns)
    }
    if (this.#stream.writable) this.#stream.write(NOTHING, take)
    else queueMicrotask(take)
  }

  #isDrained(): boolean {
    return this.#stream.writableLength === 0 || !this.#stream.writable
  }
}

/** Whole characters only. `ws` throws at a longer reason. */
function toCloseReason(reason: string): Buffer {
  const bytes = Buffer.alloc(MAX_REASON_BYTES)
  return bytes.subarray(0, new TextEncoder().encodeInto(reason, bytes).written)
}
