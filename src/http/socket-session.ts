import { CloseCode } from 'graphql-ws'
import type { WebSocket } from 'ws'
import type { Clock, Log } from '../tasks/ports.ts'
import type { Caller } from '../graphql/context.ts'
import {
  ANONYMOUS,
  AuthUnavailableError,
  UnauthenticatedError,
  type Authenticate,
  type Identity,
} from './auth.ts'

/** A timer cannot be set for longer (2³¹ − 1 ms, about 24 days). */
const MAX_TIMER_MS = 2_147_483_647
/** How long the last states of a socket may take before it is closed all the same. */
const LAST_STATE_MS = 500

/** A socket on which nothing runs, and from which nothing is heard for this long, is closed. */
const IDLE_MS = 600_000

/** Close codes that graphql-transport-ws leaves to the WebSocket protocol (RFC 6455, IANA registry). */
const TRY_AGAIN_LATER = 1013
const NORMAL_CLOSURE = 1000

export interface SessionOptions {
  readonly authenticate: Authenticate
  readonly clock: Clock
  readonly log: Log
  /** Sockets that one owner may have; null: any number. */
  readonly ownerSocketLimit: number | null
}

/**
 * Who is at the other end of a socket, and for how long. Ends with the proof: at its expiry every running
 * subscription shows its state once more, then the socket is closed with 4403.
 */
export class SocketSession {
  readonly #options: SessionOptions
  readonly #socket: WebSocket
  readonly #sockets: Map<string, number>
  readonly #repeats = new Set<() => void>()
  #identity: Identity | undefined
  #expiry: Disposable | undefined
  #idling: Disposable | undefined
  #heard = false
  #countOperations = () => 0

  /** `sockets` counts the sockets of each owner, over all sessions. */
  constructor(socket: WebSocket, sockets: Map<string, number>, options: SessionOptions) {
    this.#socket = socket
    this.#sockets = sockets
    this.#options = options
  }

  /** The caller, once `open` has let them in. */
  get caller(): Caller {
    if (this.#identity === undefined) throw new Error('The session is not open')
    const { owner, operator } = this.#identity
    const onRepeat = (repeat: () => void) => {
      this.#repeats.add(repeat)
      return { [Symbol.dispose]: () => void this.#repeats.delete(repeat) }
    }
    return { owner, operator, onRepeat }
  }

  /** How many operations run on the socket. */
  get operations(): number {
    return this.#countOperations()
  }

  /** Lets the caller in, or closes the socket and says false. `countOperations` tells how many run on it. */
  async open(authorization: unknown, countOperations: () => number): Promise<boolean> {
    const identity = await this.#identify(authorization)
    if (identity === undefined) return false
    const { ownerSocketLimit } = this.#options
    const count = (this.#sockets.get(identity.owner) ?? 0) + 1
    if (identity !== ANONYMOUS && ownerSocketLimit !== null && count > ownerSocketLimit) {
      this.#socket.close(TRY_AGAIN_LATER, 'TOO_MANY_SOCKETS')
      return false
    }
    if (this.#socket.readyState !== this.#socket.OPEN) return false
    this.#sockets.set(identity.owner, count)
    this.#hold(identity)
    this.#countOperations = countOperations
    this.#closeWhenIdle()
    return true
  }

  /** To be called at every message from the client: also one that only pings wants its socket. */
  touch(): void {
    this.#heard = true
  }

  /** Goes on with a new token of the same owner; with any other the socket is closed. */
  async extend(authorization: unknown): Promise<void> {
    const owner = this.#identity?.owner
    if (owner === undefined) return
    try {
      const identity = await this.#options.authenticate(authorization)
      if (identity.owner !== owner) throw new UnauthenticatedError('The token is of another subject')
      if (this.#identity !== undefined) this.#hold(identity)
    } catch (error) {
      // Nobody could tell: the token that the session has goes on to count.
      if (error instanceof AuthUnavailableError) return
      this.#socket.close(CloseCode.Forbidden, 'UNAUTHENTICATED')
    }
  }

  [Symbol.dispose](): void {
    this.#expiry?.[Symbol.dispose]()
    this.#idling?.[Symbol.dispose]()
    if (this.#identity === undefined) return
    const { owner } = this.#identity
    const left = (this.#sockets.get(owner) ?? 1) - 1
    if (left > 0) this.#sockets.set(owner, left)
    else this.#sockets.delete(owner)
    this.#identity = undefined
  }

  async #identify(authorization: unknown): Promise<Identity | undefined> {
    try {
      return await this.#options.authenticate(authorization)
    } catch (error) {
      if (error instanceof UnauthenticatedError) this.#socket.close(CloseCode.Forbidden, 'UNAUTHENTICATED')
      else {
        this.#options.log.warn({ err: error }, 'a token could not be verified')
        this.#socket.close(TRY_AGAIN_LATER, 'AUTH_UNAVAILABLE')
      }
      return undefined
    }
  }

  #closeWhenIdle(): void {
    this.#heard = false
    this.#idling = this.#options.clock.after(IDLE_MS, () => {
      if (this.#heard || this.operations > 0) this.#closeWhenIdle()
      else this.#socket.close(NORMAL_CLOSURE, 'Idle')
    })
  }

  #hold(identity: Identity): void {
    this.#identity = identity
    this.#expiry?.[Symbol.dispose]()
    if (identity.expiresAt === null) return
    const ms = Math.max(0, identity.expiresAt - this.#options.clock.now())
    this.#expiry = this.#options.clock.after(Math.min(ms, MAX_TIMER_MS), () => {
      if (ms > MAX_TIMER_MS) this.#hold(identity)
      else this.#expire()
    })
  }

  #expire(): void {
    for (const repeat of this.#repeats) repeat()
    const close = () => this.#socket.close(CloseCode.Forbidden, 'TOKEN_EXPIRED')
    if (this.#repeats.size === 0) close()
    else this.#expiry = this.#options.clock.after(LAST_STATE_MS, close)
  }
}
