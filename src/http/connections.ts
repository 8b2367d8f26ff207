import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Socket } from 'node:net'

/** Requests without an answer that one connection may have; clients that pipeline send a few. */
const PIPELINE_LIMIT = 16
/** Bytes that may wait in this process for all clients together. */
const UNSENT_LIMIT_BYTES = 64 * 1024 * 1024

export interface ConnectionLimits {
  /** A connection that takes none of its unsent bytes for this long is destroyed. */
  readonly stallMs: number
  /** How often connections are checked. */
  readonly checkMs: number
}

/**
 * The connections of an HTTP server. It guarantees:
 * - Requests of one connection run one after the other, so a connection never has more than one answer in memory.
 * - Once a connection is refused or destroyed, none of its requests starts to run.
 * - A connection that does not read is destroyed, whatever was written to it: answers, streams, WebSocket frames.
 */
export class Connections implements Disposable {
  readonly #open = new Map<Socket, Connection>()
  readonly #checkLimit: number
  readonly #timer: NodeJS.Timeout

  constructor(server: Server, { stallMs, checkMs }: ConnectionLimits) {
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
      socket.once('close', () => this.#open.delete(socket))
    }
    return connection
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  /** Destroys connections that have stalled for too long and, while too much is unsent, those stalled for longest. */
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
      // Closed without a reset, the kernel would keep megabytes of its unsent bytes for minutes.
      socket.resetAndDestroy()
    }
  }
}

/** One connection and its requests without a complete answer. */
class Connection {
  readonly #socket: Socket
  /** In order of arrival; only the first has started. */
  readonly #pending: { readonly response: ServerResponse; start(): void }[] = []
  #lastRequest: IncomingMessage | undefined
  #isRunning = false
  #isClosing = false
  #taken = 0
  #stalledChecks = 0

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** True once the connection takes no more requests. */
  get isClosing(): boolean {
    return this.#isClosing || this.#socket.destroyed
  }

  /** Calls `start` once every request before this one has been answered; never, if the connection is closing by then. */
  enter(request: IncomingMessage, response: ServerResponse, start: () => void, refusal: () => string): void {
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

  /** Whether the handler of the current request may run. From then on its answer goes out before the connection closes. */
  run(): boolean {
    this.#isRunning = !this.isClosing
    return this.#isRunning
  }

  /**
   * Closes the connection. The request that runs is answered first; if none runs and nothing has been answered,
   * `answer` (a whole HTTP response) is written. A stream without an end is cut off.
   */
  refuse(answer: string): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#socket.pause()
    const response = this.#pending[0]?.response
    // An answer to the rest of a request that has its answer would be taken for the answer to the next one.
    if (response === undefined) this.#end(this.#lastRequest?.complete === false ? '' : answer)
    else if (response.headersSent) {
      if (!response.writableEnded && !response.hasHeader('content-length')) this.#end('')
    } else if (!this.#isRunning) this.#end(answer)
  }

  /** An upgrade ends HTTP on this connection, so no request may be without its answer. */
  upgrade(): void {
    if (this.#pending.length > 0) this.#socket.destroy()
  }

  /**
   * The number of consecutive checks in which the client read no unsent bytes. Checks are counted instead of time, so that
   * clients do not count as stalled after the process was suspended.
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

  /** Not `end` alone: a client that neither reads nor closes would hold the connection for ever. */
  #end(lastBytes: string): void {
    if (!this.#socket.writable) return
    if (lastBytes !== '') this.#socket.write(lastBytes)
    this.#socket.destroySoon()
  }
}
