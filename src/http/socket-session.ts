import { CloseCode } from 'graphql-ws'
import type { WebSocket } from 'ws'
import type { Clock, Log } from '../tasks/ports.ts'
import type { Caller, WatchTokens } from '../graphql/context.ts'
import type { WatchControl } from '../tasks/watch.ts'
import { ANONYMOUS, GUEST, type Authenticate, type Identity } from './auth.ts'
import { UnauthenticatedError } from './auth-refusals.ts'

/** A timer cannot be set for longer (2³¹ − 1 ms, about 24 days). */
const MAX_TIMER_MS = 2_147_483_647
/** How long the last states of a socket may take before it is closed all the same. */
const LAST_STATE_MS = 500

/** A socket on which nothing runs, and from which nothing is heard for this long, is closed. */
const IDLE_MS = 600_000
/** How long a client has to introduce itself (connection_init). */
const INIT_MS = 3_000

/** Close codes that graphql-transport-ws leaves to the WebSocket protocol (RFC 6455, IANA registry). */
const TRY_AGAIN_LATER = 1013
const NORMAL_CLOSURE = 1000

export interface SessionOptions {
  readonly authenticate: Authenticate
  readonly watchTokens: WatchTokens | null
  /** Whether a socket that brings no token at all is let in as a guest. */
  readonly guestSockets: boolean
  readonly clock: Clock
  readonly log: Log
  /** Sockets that one owner may have; null: any number. */
  readonly ownerSocketLimit: number | null
}

/** What a socket shows when it opens: a bearer token, or a watch token. */
export interface Proof {
  readonly authorization: unknown
  readonly watchToken: unknown
}

/**
 * Who is at the other end of a socket, and for how long. Ends with the proof: at its expiry every running
 * subscription shows its state once more, then the socket is closed with 4403.
 */
export class SocketSession {
  readonly #options: SessionOptions
  readonly #socket: WebSocket
  readonly #sockets: Map<string | null, number>
  readonly #watches = new Set<WatchControl>()
  #identity: Identity | undefined
  #expiry: Disposable | undefined
  #heardAt: number
  #mutations: Set<string> | undefined
  #onQuiet: (() => void) | undefined
  #countOperations = () => 0

  /** `sockets` counts the sockets of each owner, over all sessions. */
  constructor(socket: WebSocket, sockets: Map<string | null, number>, options: SessionOptions) {
    this.#socket = socket
    this.#sockets = sockets
    this.#options = options
    this.#heardAt = options.clock.elapsed()
    this.#expiry = options.clock.after(INIT_MS, () =>
      socket.close(CloseCode.ConnectionInitialisationTimeout, 'Connection initialisation timeout'),
    )
  }

  /** The caller, once `open` has let them in. */
  get caller(): Caller {
    if (this.#identity === undefined) throw new Error('The session is not open')
    const { owner, operator } = this.#identity
    const onOpen = (watch: WatchControl) => {
      this.#watches.add(watch)
      return { [Symbol.dispose]: () => void this.#watches.delete(watch) }
    }
    return { owner, operator, stream: { until: null, afterVersion: null, onOpen } }
  }

  /** Counts a mutation that runs on the socket, by the id of its operation. */
  begin(id: string): void {
    this.#mutations = (this.#mutations ?? new Set()).add(id)
  }

  /** Counts it no longer: it has been answered. */
  end(id: string): void {
    if (this.#mutations?.delete(id) && this.#mutations.size === 0) this.#onQuiet?.()
  }

  /** Resolves when no mutation runs on the socket. */
  async quiet(): Promise<void> {
    if (this.#mutations?.size) await new Promise<void>((resolve) => (this.#onQuiet = resolve))
  }

  /** How many operations run on the socket. */
  get operations(): number {
    return this.#countOperations()
  }

  /** Lets the caller in, or closes the socket and says false. `countOperations` tells how many run on it. */
  async open(proof: Proof, countOperations: () => number): Promise<boolean> {
    this.#expiry?.[Symbol.dispose]()
    this.#expiry = undefined
    const identity = await this.#identify(proof)
    if (identity === undefined) return false
    const { owner } = identity
    const { ownerSocketLimit } = this.#options
    const count = (this.#sockets.get(owner) ?? 0) + 1
    if (identity !== ANONYMOUS && owner !== null && ownerSocketLimit !== null && count > ownerSocketLimit) {
      this.#socket.close(TRY_AGAIN_LATER, 'TOO_MANY_SOCKETS')
      return false
    }
    if (this.#socket.readyState !== this.#socket.OPEN) return false
    this.#sockets.set(owner, count)
    this.#hold(identity)
    this.#countOperations = countOperations
    return true
  }

  /** To be called at every message from the client: also one that only pings wants its socket. */
  touch(): void {
    this.#heardAt = this.#options.clock.elapsed()
  }

  /** To be called now and then. */
  closeIfIdle(): void {
    if (this.operations > 0) this.touch()
    else if (this.#options.clock.elapsed() >= this.#heardAt + IDLE_MS)
      this.#socket.close(NORMAL_CLOSURE, 'Idle')
  }

  /** Goes on with a new token of the same owner; with any other the socket is closed. */
  async extend(authorization: unknown): Promise<void> {
    const owner = this.#identity?.owner
    if (owner == null) return
    try {
      const identity = await this.#options.authenticate(authorization, { owner })
      if (this.#identity !== undefined) this.#hold(identity)
    } catch (error) {
      // Where the token cannot be verified, the session keeps the one it has.
      if (error instanceof UnauthenticatedError) this.#socket.close(CloseCode.Forbidden, 'UNAUTHENTICATED')
    }
  }

  [Symbol.dispose](): void {
    this.#expiry?.[Symbol.dispose]()
    if (this.#identity === undefined) return
    const { owner } = this.#identity
    const left = (this.#sockets.get(owner) ?? 1) - 1
    if (left > 0) this.#sockets.set(owner, left)
    else this.#sockets.delete(owner)
    this.#identity = undefined
  }

  async #identify(proof: Proof): Promise<Identity | undefined> {
    try {
      return await this.#options.authenticate(proof.authorization, { guest: () => this.#toGuest(proof) })
    } catch (error) {
      if (error instanceof UnauthenticatedError) this.#socket.close(CloseCode.Forbidden, 'UNAUTHENTICATED')
      else this.#socket.close(TRY_AGAIN_LATER, 'AUTH_UNAVAILABLE')
      return undefined
    }
  }

  /** A caller without a bearer token is a guest with a good watch token, or where sockets without any are let in. */
  async #toGuest({ watchToken }: Proof): Promise<Identity | undefined> {
    const token = typeof watchToken === 'string' && (await this.#options.watchTokens?.read(watchToken))
    if (token) return { ...GUEST, expiresAt: token.expiresAt }
    return this.#options.guestSockets ? GUEST : undefined
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
    for (const watch of this.#watches) watch.repeat()
    const close = () => this.#socket.close(CloseCode.Forbidden, 'TOKEN_EXPIRED')
    if (this.#watches.size === 0) close()
    else this.#expiry = this.#options.clock.after(LAST_STATE_MS, close)
  }
}
