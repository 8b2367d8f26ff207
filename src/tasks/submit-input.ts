import type { Picture } from './task.ts'

/** What a caller submits. */
export interface SubmitInput extends Picture {
  readonly owner: string
  /** The engine by its name in ENGINES; null: the gateway chooses. */
  readonly engine: string | null
  /**
   * Until the key expires, all requests of one owner with this key are one task. A request for several tasks
   * gives each the key and its position.
   */
  readonly idempotencyKey: string | readonly [key: string, position: number] | null
  /** The URL for the delivery; null: no delivery. */
  readonly callBackUrl: string | null
  /**
   * Submits, and pays, even if the same picture is already running or done; a known idempotency key still
   * returns its task.
   */
  readonly force: boolean
  /**
   * Whether the task waits in the queue while the upstream takes no tasks; otherwise the submit is refused
   * then.
   */
  readonly queue: boolean
  readonly correlationId: string
  /** The trace of the operation (W3C Trace Context); null: none. */
  readonly traceparent: string | null
}
