/**
 * The news that a caller's own server is owed: how a task ended, posted to its `callBackUrl`. Instants are Unix
 * milliseconds.
 */

/** PENDING: to be delivered, once the task has settled. DELIVERED: it answered 2xx. GAVE_UP: 410, or no 2xx in the total time. */
export const DELIVERY_STATES = ['PENDING', 'DELIVERED', 'GAVE_UP'] as const
export type DeliveryState = (typeof DELIVERY_STATES)[number]

/** A task has at most so many. */
export const MAX_DELIVERIES = 5

/** What became of telling one URL about one task: always of the task's latest settled version. */
export interface Delivery {
  readonly id: string
  readonly taskId: string
  /** Who is owed it: the task's owner. */
  readonly owner: string
  readonly url: string
  /** The version of the task to be told; 0 until it has settled. */
  readonly version: number
  readonly state: DeliveryState
  /** How often it was tried with this version. */
  readonly attempts: number
  /** How many of these failed without a requested wait: the step of the schedule. */
  readonly failures: number
  /** When this version became due for the first time; null until the task has settled. */
  readonly owedSince: number | null
  /** What the receiver answered last; null when there was no answer. */
  readonly lastStatusCode: number | null
  /** When it is tried next; null: not again. */
  readonly dueAt: number | null
  /** Until when an attempt holds the lease. */
  readonly leasedUntil: number | null
}

/** The result of one attempt. */
export type Attempt = Pick<Delivery, 'state' | 'attempts' | 'failures' | 'lastStatusCode' | 'dueAt'>

/**
 * Deliveries that outlive the process. The TaskStore writes them in the transaction that settles a task, so
 * that none is lost by a crash, and none is made for a state that was not committed.
 */
export interface Outbox {
  /** Adds a URL, due at once if the task has settled; does nothing if it exists. False: the task has five others. */
  add(taskId: string, url: string, now: number): Promise<boolean>
  /** The deliveries of these tasks, by one question, in the order in which they were added. */
  list(taskIds: readonly string[]): Promise<Delivery[]>
  /**
   * Takes up to `limit` deliveries that are due and not leased, longest due first, except for some hosts
   * and owners, and leases them until `leaseUntil`: each is given to one claimer. Tolerates a clock that was set back, as
   * TaskStore's `claimDue` does.
   */
  claimDue(
    now: number,
    leaseUntil: number,
    limit: number,
    except: { readonly hosts: readonly string[]; readonly owners: readonly string[] },
  ): Promise<Delivery[]>
  /** Ends a lease, and records the attempt unless there has been newer news, or a wish to begin anew, since. */
  finish(claimed: Delivery, attempt: Attempt): Promise<void>
  /** Makes everything that there is to tell about a task due once more. */
  redeliver(taskId: string, now: number): Promise<void>
}

/** What a receiver said. */
export type DeliveryAnswer =
  | { readonly kind: 'answered'; readonly status: number; readonly retryAfterMs: number | null }
  /** No answer in time, or no connection: `cause` is for the log. */
  | { readonly kind: 'unanswered'; readonly cause: string }

/** Posts to callers' servers, and only to public ones. */
export interface DeliverySender {
  /** One POST, one answer; cut short when the service ends meanwhile. Does not throw. */
  send(
    url: string,
    headers: Readonly<Record<string, string>>,
    body: string,
  ): Promise<DeliveryAnswer | 'cut short'>
}

/** Signs after the Standard Webhooks specification. */
export interface DeliverySigner {
  /** Whether there is a secret for this owner. */
  canSign(owner: string): boolean
  /** The headers `webhook-id`, `webhook-timestamp` and `webhook-signature`; undefined without a secret. */
  sign(owner: string, id: string, at: number, body: string): Record<string, string> | undefined
}
