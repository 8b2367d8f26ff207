/** What clients see when an operation fails, and whether the contract allows it. */
import { UPSCALE_ERROR_CODES } from '../../src/tasks/failure.ts'

export type Transport = 'http' | 'websocket' | 'sse' | 'callback'

export interface SeenError {
  /** On the monotonic clock of this process, in milliseconds. */
  readonly at: number
  readonly transport: Transport
  /** The code of the error, or the kind of the connection failure. */
  readonly kind: string
  /** The error is typed and retryable, or the connection failed. */
  readonly isAllowed: boolean
  /** The source task of the operation. */
  readonly source: string
  readonly detail: string
  readonly correlationId?: string
}

/** The form of a GraphQL error's `extensions`, and of `problem`. */
export interface Failure {
  readonly code?: unknown
  readonly retryable?: unknown
  readonly retryAfterMs?: unknown
  readonly correlationId?: unknown
}

/** Codes of the gateway itself that can be retryable. */
const OWN_CODES = ['SERVICE_UNAVAILABLE', 'AUTH_UNAVAILABLE', 'TOO_MANY_OPERATIONS']
const KNOWN_CODES: readonly string[] = [...UPSCALE_ERROR_CODES, ...OWN_CODES]

/**
 * Close codes of a connection that ended: going away, abnormal, service restart, try again later, no pong.
 */
const LOST_CONNECTION = [1001, 1006, 1012, 1013, 4408]

export class SeenErrors {
  readonly all: SeenError[] = []

  /** An error that has arrived as GraphQL or as `problem`. Returns how long to wait, in milliseconds. */
  addTyped(
    transport: Transport,
    source: string,
    { code, retryable, retryAfterMs, correlationId }: Failure,
  ): number {
    const kind = typeof code === 'string' ? code : 'NO_CODE'
    const isAllowed = KNOWN_CODES.includes(kind) && retryable === true
    const found = typeof correlationId === 'string' ? { correlationId } : {}
    const detail = retryable === true ? '' : 'not retryable'
    this.#add({ transport, kind, isAllowed, source, detail, ...found })
    return typeof retryAfterMs === 'number' ? retryAfterMs : 0
  }

  /** An answer without a typed error. */
  addUntyped(transport: Transport, source: string, kind: string, detail: string): void {
    this.#add({ transport, kind, isAllowed: false, source, detail })
  }

  addConnectionFailure(transport: Transport, source: string, error: unknown): void {
    const cause = Error.isError(error) && Error.isError(error.cause) ? error.cause : error
    const isTimeout = Error.isError(error) && error.name === 'TimeoutError'
    const kind = isTimeout ? 'TIMEOUT' : toConnectionKind(cause)
    // An operation must not hang: a timeout of the client is not a connection failure.
    this.#add({ transport, kind, isAllowed: !isTimeout, source, detail: String(cause) })
  }

  addClose(source: string, code: number, reason: string): void {
    this.#add({
      transport: 'websocket',
      kind: `close ${code}`,
      isAllowed: LOST_CONNECTION.includes(code),
      source,
      detail: reason,
    })
  }

  #add(error: Omit<SeenError, 'at'>): void {
    this.all.push({ at: performance.now(), ...error })
  }
}

/** A name for a failed connection, such as ECONNREFUSED. */
export function toConnectionKind(error: unknown): string {
  return Error.isError(error) && 'code' in error ? String(error.code) : 'connection cut off'
}
