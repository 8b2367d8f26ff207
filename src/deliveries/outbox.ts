/**
 * A delivery posts the settled state of a task to the caller's `callBackUrl`. Instants are Unix milliseconds.
 */
import type { TaskLimit } from '../tasks/observer.ts'
import type { Clock, Log } from '../tasks/ports.ts'
import type { TaskStore } from '../tasks/store-port.ts'
import type { Tracing } from '../tasks/tracing.ts'
import type { RateLimits } from '../tasks/rates.ts'
import type { UpscaleTask } from '../tasks/task.ts'

/**
 * PENDING: to be delivered, once the task has settled. DELIVERED: the receiver answered 2xx. GAVE_UP: 410, or
 * no 2xx in time.
 */
export const DELIVERY_STATES = ['PENDING', 'DELIVERED', 'GAVE_UP'] as const
export type DeliveryState = (typeof DELIVERY_STATES)[number]

/** The maximum per task. */
export const MAX_DELIVERIES = 5

/** The delivery of one task to one URL: always of the task's latest settled version. */
export interface Delivery {
  readonly id: string
  readonly taskId: string
  /** The task's owner. */
  readonly owner: string
  readonly url: string
  /** The version of the task to deliver; 0 until it has settled. */
  readonly version: number
  readonly state: DeliveryState
  /** The attempts with this version. */
  readonly attempts: number
  /** How many of these failed without a `Retry-After`: the step of the schedule. */
  readonly failures: number
  /** When this version became due for the first time; null until the task has settled. */
  readonly dueSince: number | null
  /** The status of the last answer; null: none. */
  readonly lastStatusCode: number | null
  /** When the next attempt is due; null: never. */
  readonly dueAt: number | null
  /** When the lease of the running attempt ends. */
  readonly leasedUntil: number | null
}

/** The result of one attempt. */
export type Attempt = Pick<Delivery, 'state' | 'attempts' | 'failures' | 'lastStatusCode' | 'dueAt'>

/**
 * Durable deliveries. The TaskStore makes them due in the transaction that settles a task, so that a crash
 * loses none, and no delivery is made for a state that was not committed.
 */
export interface Outbox {
  /**
   * Adds a URL, due now if the task has settled; no effect if it exists. False: the task has the maximum of
   * deliveries.
   */
  add(taskId: string, url: string, now: number): Promise<boolean>
  /** The deliveries of these tasks, by one query, in the order in which they were added. */
  list(taskIds: readonly string[]): Promise<Delivery[]>
  /**
   * Claims up to `limit` deliveries that are due and not leased, longest due first, and leases them until
   * `leaseUntil`. Skips the hosts and owners in `except`. Concurrent claims never get the same delivery.
   * Tolerates a clock that was set back, as TaskStore's `claimDue` does.
   */
  claimDue(
    now: number,
    leaseUntil: number,
    limit: number,
    except: { readonly hosts: readonly string[]; readonly owners: readonly string[] },
  ): Promise<Delivery[]>
  /** Ends a lease, and records the attempt unless a newer version or a redelivery is due since the claim. */
  finish(claimed: Delivery, attempt: Attempt): Promise<void>
  /** Makes all deliveries of a settled task due again, without attempts. */
  redeliver(taskId: string, now: number): Promise<void>
  /**
   * How many deliveries are due or wait for a retry (at most MAX_DELIVERY_COUNT), and when the first of them
   * is due; null: none.
   */
  readBacklog(): Promise<DeliveryBacklog>
}

/** `readBacklog` counts no further than this, so that it takes a few milliseconds at any number. */
export const MAX_DELIVERY_COUNT = 10_000

/** The deliveries that are due or wait for a retry. */
export interface DeliveryBacklog {
  readonly count: number
  readonly oldestDueAt: number | null
}

export type DeliveryAnswer =
  | { readonly kind: 'answered'; readonly status: number; readonly retryAfterMs: number | null }
  /** No answer in time, or no connection: `cause` is for the log. */
  | { readonly kind: 'unanswered'; readonly cause: string }

/** Posts to callers' servers, and only to public ones. */
export interface DeliverySender {
  /** `send` resolves within this time. */
  readonly timeoutMs: number
  /** One POST, one answer; `aborted` if the service stops before the answer. Does not throw. */
  send(
    url: string,
    headers: Readonly<Record<string, string>>,
    body: string,
  ): Promise<DeliveryAnswer | 'aborted'>
}

/** Signs by the Standard Webhooks specification. */
export interface DeliverySigner {
  /** Whether there is a secret for this owner. */
  canSign(owner: string): boolean
  /** The headers `webhook-id`, `webhook-timestamp` and `webhook-signature`; undefined without a secret. */
  sign(owner: string, id: string, at: number, body: string): Record<string, string> | undefined
}

export interface DeliveryDependencies {
  readonly store: Pick<TaskStore, 'read'>
  readonly outbox: Outbox
  readonly signer: DeliverySigner
  readonly sender: DeliverySender
  readonly limits: Pick<RateLimits, 'takeForOwner'>
  /** The URL of an image for clients. */
  readonly toImageUrl: (task: UpscaleTask, position: number) => string
  readonly clock: Clock
  readonly log: Log
  readonly tracing: Tracing
  /** How long a delivery is retried before it is given up, in milliseconds. */
  readonly deliverForMs: number
  /** Wakes the worker that calls `deliverDue`. */
  readonly wake: () => void
  /** Called with the outcome of each attempt, for metrics. */
  readonly onDelivery?: (outcome: string) => void
  /** Called with the limit that has refused a redelivery, for metrics. */
  readonly onRefusal?: (limit: TaskLimit) => void
}
