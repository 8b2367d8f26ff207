import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Socket } from 'node:net'

/** Requests of one connection without a response. Clients that pipeline send a few. */
const PIPELINE_LIMIT = 16
/** Of all connections together. */
const UNSENT_LIMIT_BYTES = 64 * 1024 * 1024

interface ConnectionLimits {
  /** A connection is destroyed if bytes are unsent and its client reads none for this long. */
  readonly stallMs: number
  /** How often connections are checked. */
  readonly checkMs: number
}

/**
 * The connections of an HTTP server. It guarantees:
 * - Requests of one connection run one after another: it never has more than one response in memory.
 * - No request starts on a connection that is refused or destroyed.
 * - A connection that does not read is destroyed: this applies to responses, streams and WebSocket frames.
 */
export class Connections implements Disposable {
  readonly #open = new Map<Socket, Connection>()
  readonly #checkLimit: number
  readonly #timer: NodeJS.Timeout
  /** One listener with `this` for all sockets, because each socket would keep a closure. */
  readonly #onClose: (this: Socket) => void

  constructor(server: Server, { stallMs, checkMs }: ConnectionLimits) {
    const open = this.#open
    this.#onClose = function () {
      open.delete(this)
    }
    this.#checkLimit = stallMs / checkMs
    this.#timer = setInterval(() => this.#destroyStalled(), checkMs).unref()
    server.on('upgrade', (_request, socket) => {
      if (socket instanceof Socket) this.of(socket).upgrade()
    })
  }

  of(socket: Socket): Connection {
    let connection = this.#open.get(socket)
    if (connection === undefined) {
      connection = new Connection(socket)
      this.#open.set(socket, connection)
      socket.on('close', this.#onClose)
    }
    return connection
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  /**
   * Destroys connections that have stalled for too long; and, while too much is unsent, those that have
   * stalled longest.
   */
  #destroyStalled(): void {
    const stalled: { readonly socket: Socket; readonly checks: number }[] = []
    let unsent = 0
    for (const [socket, connection] of this.#open) {
      unsent += socket.writableLength
      const checks = connection.checkStall()
      if (checks > 0) stalled.push({ socket, checks })
    }
    for (const { socket, checks } of stalled.sort((a, b) => b.checks - a.checks)) {
      if (checks < this.#checkLimit && unsent <= UNSENT_LIMIT_BYTES) break
      unsent -= socket.writableLength
      // Without a reset, the kernel would keep megabytes of unsent bytes for minutes.
      socket.resetAndDestroy()
    }
  }
}

/** A connection and its requests without a complete response. */
class Connection {
  readonly #socket: Socket
  /** In order of arrival. Only the first has started. */
  readonly #pending: { readonly response: ServerResponse; start(): void }[] = []
  #lastRequest: IncomingMessage | undefined
  #isRunning = false
  #isClosing = false
  #taken = 0
  #stalledChecks = 0

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** True if the connection accepts no more requests. */
  get isClosing(): boolean {
    return this.#isClosing || this.#socket.destroyed
  }

  /**
   * Calls `start` when all earlier requests have their response, unless the connection is closing by then.
   */
  enqueue(
    request: IncomingMessage,
    response: ServerResponse,
    start: () => void,
    refusal: () => string,
  ): void {
    if (this.isClosing) return
    if (this.#pending.length === PIPELINE_LIMIT) {
      this.refuse(refusal())
      return
    }
    this.#lastRequest = request
    this.#pending.push({ response, start })
    response.once('close', () => this.#next())
    if (this.#pending.length === 1) start()
  }

  /**
   * Whether the handler of the current request may run. If so, its response is sent before the connection
   * closes.
   */
  begin(): boolean {
    this.#isRunning = !this.isClosing
    return this.#isRunning
  }

  /**
   * Closes the connection. The response of a running request is sent first; without one, `response` (a
   * complete HTTP response) is written. A stream is cut off, because it may never end.
   */
  refuse(response: string): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#socket.pause()
    const running = this.#pending[0]?.response
    // A client would read a second response to an incomplete request as the response to its next request.
    if (running === undefined) this.#end(this.#lastRequest?.complete === false ? '' : response)
    else if (running.headersSent) {
      if (!running.writableEnded && !running.hasHeader('content-length')) this.#end('')
    } else if (!this.#isRunning) this.#end(response)
  }

  /** An upgrade ends HTTP on this connection, so no request may be without its response. */
  upgrade(): void {
    if (this.#pending.length > 0) this.#socket.destroy()
  }

  /**
   * The number of consecutive checks in which bytes were unsent and the client read none. Not a time, so that
   * a suspended process does not count clients as stalled.
   */
  checkStall(): number {
    const { writableLength } = this.#socket
    const taken = writableLength === 0 ? -1 : this.#socket.bytesWritten - writableLength
    const hasStalled = writableLength > 0 && taken === this.#taken
    this.#stalledChecks = hasStalled ? this.#stalledChecks + 1 : 0
    this.#taken = taken
    return this.#stalledChecks
  }

  #next(): void {
    this.#pending.shift()
    this.#isRunning = false
    if (this.isClosing) this.#end('')
    else this.#pending[0]?.start()
  }

  /** `socket.end()` would keep the connection of a client that neither reads nor closes. */
  #end(lastBytes: string): void {
    if (!this.#socket.writable) return
    if (lastBytes !== '') this.#socket.write(lastBytes)
    this.#socket.destroySoon()
  }
}
