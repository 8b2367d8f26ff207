import { CloseCode } from 'graphql-ws'
import type { Clock, Log } from '../tasks/ports.ts'
import type { Caller, StreamTransport } from '../graphql/context.ts'
import { requestError } from '../graphql/errors.ts'
import type { WatchControl } from '../tasks/watch/watch.ts'
import type { StreamEnding } from '../tasks/watch/watch-state.ts'
import {
  ANONYMOUS,
  GUEST,
  type Authorize,
  type AuthorizeOptions,
  type Credentials,
  type Identity,
} from './authorize.ts'
import { AuthUnavailableError, UnauthenticatedError } from './auth-refusals.ts'
import { toOwnerKey, toTaskKey, type Counts } from './counts.ts'
import type { HttpObserver } from './http-observer.ts'
import { GOING_AWAY, type SocketWire } from './socket-wire.ts'

/** A timer cannot be set for longer (2³¹ − 1 ms, about 24 days). */
const MAX_TIMER_MS = 2_147_483_647
/** How long a socket may take to send its last states before it is closed. */
const LAST_STATE_MS = 500

/** A socket without operations and without messages for this long is closed. */
const IDLE_MS = 600_000
/** How long a client has for connection_init: it may have to fetch a token first. */
const INIT_MS = 10_000

/** Close codes that graphql-transport-ws leaves to the WebSocket protocol (RFC 6455, IANA registry). */
const TRY_AGAIN_LATER = 1013
const NORMAL_CLOSURE = 1000
const INTERNAL_ERROR = 1011
const UNAUTHENTICATED = 'UNAUTHENTICATED'

/** How streams end on a socket that this side has closed with a code. */
const ENDINGS: Partial<Record<number, StreamEnding>> = {
  [GOING_AWAY]: 'going_away',
  [CloseCode.Forbidden]: 'token_expired',
}

export interface SessionOptions {
  readonly authorize: Authorize
  /** Whether a socket without any token is accepted as a guest. */
  readonly guestSockets: boolean
  readonly clock: Clock
  readonly log: Log
  readonly observer: HttpObserver
}

/** The place of a socket that no limit counts. */
const UNCOUNTED: Disposable = { [Symbol.dispose]: () => undefined }

/** The counts that all sessions of a server share. */
interface SessionCounts {
  /** Sockets, by owner, or by the task of the watch token that opened them. */
  readonly sockets: Counts
  /** Sockets that were opened without any token, all under one key. */
  readonly tokenless: Counts
  /** Subscriptions on tokenless sockets, by the task of the subscription's watch token. */
  readonly guestStreams: Counts
}

/**
 * The caller of a socket, and the expiry of its token. When the token expires, every running subscription
 * sends its state once more and no new operation runs; then the socket is closed with 4403.
 */
export class SocketSession implements StreamTransport, Disposable {
  /** The session itself ends streams when the token expires. */
  readonly until = null
  readonly afterVersion = null
  readonly #options: SessionOptions
  readonly #wire: SocketWire
  readonly #counts: SessionCounts
  readonly #watches = new Set<WatchControl>()
  #identity: Identity | undefined
  #isExpired = false
  #place: Disposable | undefined
  #expiry: Disposable | undefined
  #heardAt: number

  constructor(wire: SocketWire, counts: SessionCounts, options: SessionOptions) {
    this.#wire = wire
    this.#counts = counts
    this.#options = options
    this.#heardAt = options.clock.elapsed()
    this.#expiry = options.clock.after(INIT_MS, () =>
      wire.close(CloseCode.ConnectionInitialisationTimeout, 'Connection initialisation timeout'),
    )
  }

  /** The caller, after `open` has authorized it. */
  get caller(): Caller {
    if (this.#identity === undefined) throw new Error('The session is not open')
    // An expired token authenticates no operation, until a new token arrives or the socket is closed.
    const { owner, operator } = this.#isExpired ? GUEST : this.#identity
    return { owner, operator, stream: this }
  }

  /** Authorizes the caller, or closes the socket and resolves to false. */
  async open(credentials: Credentials): Promise<boolean> {
    this.#expiry?.[Symbol.dispose]()
    this.#expiry = undefined
    const identity = await this.#authorize(credentials, { allowGuests: this.#options.guestSockets })
    if (identity === undefined || !this.#wire.isOpen) return false
    this.#place = this.#takePlace(identity)
    if (this.#place === undefined) {
      this.#options.observer.onRefusal(
        identity.owner === null && identity.guestTask === null ? 'guest_sockets' : 'owner_sockets',
      )
      this.#wire.close(TRY_AGAIN_LATER, 'TOO_MANY_SOCKETS')
      return false
    }
    this.#hold(identity)
    return true
  }

  /** Call it at every message of the client: a ping keeps the socket open, too. */
  touch(): void {
    this.#heardAt = this.#options.clock.elapsed()
  }

  /** Call it regularly. */
  closeIfIdle(operations: number): void {
    if (operations > 0) this.touch()
    else if (this.#options.clock.elapsed() >= this.#heardAt + IDLE_MS)
      this.#wire.close(NORMAL_CLOSURE, 'Idle')
  }

  /** Extends the session by a new token of the same owner; any other token closes the socket. */
  async extend(authorization: unknown): Promise<void> {
    const owner = this.#identity?.owner
    if (owner == null) return
    const identity = await this.#authorize({ authorization }, { owner })
    if (identity !== undefined && this.#identity !== undefined) this.#hold(identity)
  }

  [Symbol.dispose](): void {
    this.#expiry?.[Symbol.dispose]()
    this.#place?.[Symbol.dispose]()
    this.#identity = undefined
  }

  onOpen(watch: WatchControl, guestTask: string | null): Disposable {
    const isTokenless = this.#identity?.owner === null && this.#identity.guestTask === null
    const counts = isTokenless && guestTask !== null
    const place = counts ? this.#counts.guestStreams.take(toTaskKey(guestTask)) : undefined
    const { observer } = this.#options
    if (counts && place === undefined) {
      observer.onRefusal('guest_streams')
      throw requestError('TOO_MANY_OPERATIONS', 'Too many guests follow this task already.')
    }
    this.#watches.add(watch)
    observer.onStreamOpen('websocket')
    return new OpenStream(this, watch, place)
  }

  /** Call it when a stream of this session has ended. Further calls have no effect. */
  closeStream(watch: WatchControl): void {
    if (!this.#watches.delete(watch)) return
    this.#options.observer.onStreamEnd('websocket', this.#toEnding(watch.ending()))
  }

  #toEnding(ending: StreamEnding | null): StreamEnding | null {
    return ending === 'client' ? (ENDINGS[this.#wire.closedWith ?? 0] ?? ending) : ending
  }

  #takePlace(identity: Identity): Disposable | undefined {
    const { sockets, tokenless } = this.#counts
    if (identity === ANONYMOUS) return UNCOUNTED
    if (identity.owner !== null) return sockets.take(toOwnerKey(identity.owner))
    return identity.guestTask === null ? tokenless.take('all') : sockets.take(toTaskKey(identity.guestTask))
  }

  /** Undefined: the caller is refused. */
  async #authorize(credentials: Credentials, options: AuthorizeOptions): Promise<Identity | undefined> {
    try {
      return await this.#options.authorize(credentials, options)
    } catch (error) {
      if (error instanceof UnauthenticatedError) this.#wire.close(CloseCode.Unauthorized, UNAUTHENTICATED)
      else if (error instanceof AuthUnavailableError) {
        // An open session keeps the token it has.
        if (this.#identity === undefined) this.#wire.close(TRY_AGAIN_LATER, 'AUTH_UNAVAILABLE')
      } else {
        this.#options.log.error({ err: error }, 'failed to authorize a socket')
        this.#wire.close(INTERNAL_ERROR, 'Internal server error')
      }
      return undefined
    }
  }

  #hold(identity: Identity): void {
    this.#identity = identity
    this.#isExpired = false
    this.#expiry?.[Symbol.dispose]()
    if (identity.expiresAt === null) return
    const ms = Math.max(0, identity.expiresAt - this.#options.clock.now())
    this.#expiry = this.#options.clock.after(Math.min(ms, MAX_TIMER_MS), () => {
      if (ms > MAX_TIMER_MS) this.#hold(identity)
      else this.#expire()
    })
  }

  #expire(): void {
    this.#isExpired = true
    for (const watch of this.#watches) watch.repeat()
    const close = () => this.#wire.close(CloseCode.Forbidden, 'TOKEN_EXPIRED')
    if (this.#watches.size === 0) close()
    else this.#expiry = this.#options.clock.after(LAST_STATE_MS, close)
  }
}

/** A stream of a session, until disposed. A class, because every subscription keeps one. */
class OpenStream implements Disposable {
  readonly #session: SocketSession
  readonly #watch: WatchControl
  readonly #place: Disposable | undefined

  constructor(session: SocketSession, watch: WatchControl, place: Disposable | undefined) {
    this.#session = session
    this.#watch = watch
    this.#place = place
  }

  [Symbol.dispose](): void {
    this.#place?.[Symbol.dispose]()
    this.#session.closeStream(this.#watch)
  }
}
