/** What the core needs of the world. Each method states its guarantee; adapters are held to it by test/contract. */
import type { FailureCause } from './failure.ts'
import type { Picture, TaskStatus, UpscaleTask } from './task.ts'

/** How far the clocks of replicas may differ. A row scheduled more than this after now means that a clock was set back. */
export const CLOCK_TOLERANCE_MS = 300_000

/** A place in a list of tasks, newest first: the task that stands there. */
export interface TaskPosition {
  readonly createdAt: number
  readonly id: string
}

export interface TaskListQuery {
  readonly owner: string
  readonly status: TaskStatus | null
  /** Only tasks after this place. */
  readonly after: TaskPosition | null
  readonly limit: number
}

/** Thrown when a commit was not confirmed: it may have happened, or may happen shortly. `cause` is the reason. */
export class UnconfirmedError extends Error {
  override name = 'UnconfirmedError'
}

/** Tasks that outlive the process. Whatever is committed is announced through TaskHints, and nothing else is. */
export interface TaskStore {
  /**
   * Stores a new task, or gives back the one that its idempotency key names or, failing that, the newest one for
   * the same picture that is running, or done with images that have not expired; from then on the key names that
   * one. Atomic: of any number of concurrent inserts with one key or picture exactly one is stored. A key is free
   * when it has expired, or names a task that was refused without a charge. `force` does not look for the
   * picture. `admit` is called only if there is no such task, before anything is stored; if it refuses, nothing
   * is stored, and the refusal is returned. `admitKey` is called likewise before a new key names an existing task.
   * @throws UnconfirmedError if the task may have been stored; after any other error it was not.
   */
  insert<Refusal = never>(
    task: UpscaleTask,
    options: InsertOptions<Refusal>,
  ): Promise<Insertion | { readonly inserted: false; readonly refusal: Refusal }>
  /** The task as last committed, or undefined. */
  read(id: string): Promise<UpscaleTask | undefined>
  /**
   * Turns `previous` into `next`, writing only what differs, if its version and the upstream's id are still the
   * same; otherwise it is `beaten`, and nothing has changed. Where the task settles with it, everything in its outbox becomes
   * due in the same transaction.
   */
  update(previous: UpscaleTask, next: UpscaleTask): Promise<UpdateOutcome>
  /** The existing tasks among these ids, in any order, by one query. */
  readMany(ids: readonly string[]): Promise<UpscaleTask[]>
  /** One owner's tasks, newest first. */
  list(query: TaskListQuery): Promise<UpscaleTask[]>
  /**
   * Takes up to `limit` tasks that are due and have not succeeded, longest due first, and makes each due again only at
   * `leaseUntil`: however many replicas ask at once, a task is given to one of them. A claimer that dies
   * delays its tasks until the lease ends, and loses none.
   * Tolerates a clock that was set back: tasks that were scheduled more than CLOCK_TOLERANCE_MS after `now` become due within
   * a minute at most, and no deadline of theirs is later than `latestDeadline`.
   */
  claimDue(now: number, leaseUntil: number, limit: number, latestDeadline?: number): Promise<UpscaleTask[]>
  /**
   * Ends a claim: records the poll and sets when the task is due next; null: never. Changes nothing if the task has
   * moved, or is due at another time, since the claim.
   */
  reschedule(claimed: UpscaleTask, next: Schedule): Promise<void>
  /** Makes an unsettled task due at an instant, unless it is due earlier. */
  pollSoon(id: string, dueAt: number): Promise<void>
  /** Renews the lease on the answer to a submit, as long as the answer is outstanding. */
  extendAnswer(id: string, answerBy: number): Promise<void>
  /** Removes up to `limit` tasks settled before an instant, with all that hangs on them; says how many. */
  removeSettled(before: number, limit: number): Promise<number>
  /** Deletes up to `limit` idempotency keys that are free again; returns how many. */
  removeExpiredKeys(now: number, limit: number): Promise<number>
  /** How many tasks there are, by status: exact, or where counting is slow at most 15 s old. */
  countByStatus(): Promise<Partial<Record<TaskStatus, number>>>
  /** Resolves when the store answers, takes writes and has the schema this version needs; rejects otherwise. */
  check(): Promise<void>
}

/** When a task is polled next, and how many polls in a row did not find it. */
export type Schedule = Pick<UpscaleTask, 'dueAt' | 'absences' | 'absentSince'>

/** beaten: another writer was first. written: committed. owed: committed, and deliveries are due. */
export type UpdateOutcome = 'beaten' | 'written' | 'owed'

/** An owner's idempotency key. */
export interface IdempotencyKey {
  /** A digest of owner and key: the key itself is not kept. */
  readonly claim: string
  /** When it is free again. */
  readonly until: number
}

export interface InsertOptions<Refusal> {
  /** Stores it although there is a task for the same picture; false unless said. */
  readonly force?: boolean
  readonly key?: IdempotencyKey | null
  /** Where to tell how a new task ends; null: nowhere. */
  readonly callBackUrl?: string | null
  /** Says why a new task must not be stored; null: it may. */
  readonly admit?: () => Promise<Refusal | null>
  /** Returns why a new key must not name an existing task; null: it may. */
  readonly admitKey?: () => Promise<Refusal | null>
}

export type Insertion =
  | { readonly inserted: true }
  | { readonly inserted: false; readonly existing: UpscaleTask; readonly by: 'key' | 'picture' }

/**
 * Says that a task may have changed. A hint can be lost, doubled, late or reordered: a listener re-reads, or compares
 * the version of the state that came with it.
 */
export interface TaskHints {
  /**
   * Tells listeners of this task; never throws and never waits for them. `state` is what was just committed: it
   * spares listeners of the same process the reading, and goes no further.
   */
  announce(taskId: string, state?: UpscaleTask): void
  /** Calls `wake` at every announcement made after the promise resolves, until disposed of. */
  listen(taskId: string, wake: (state?: UpscaleTask) => void): Promise<Disposable>
}

export interface SubmitRequest extends Picture {
  /** Where the upstream is to post completion; null: it is only polled. */
  readonly callBackUrl: string | null
}

/**
 * accepted: charged and running. refused: not accepted; no result will come. unknown: the request was sent and may have been
 * accepted and charged. `note` is a readable description of the answer; for unknown it continues "the answer was …".
 */
export type SubmitAnswer =
  | { readonly kind: 'accepted'; readonly upstreamTaskId: string }
  | { readonly kind: 'refused'; readonly failure: FailureCause; readonly note: string }
  | { readonly kind: 'unknown'; readonly note: string }

/** How many URLs of a result were dropped as unusable or too many; absent: none. */
export interface Dropped {
  readonly dropped?: number
}

/** The images of a result: absolute http(s) URLs, each once. */
export interface Result extends Dropped {
  readonly imageUrls: readonly string[]
}

/**
 * The upstream's answer about a task it accepted. failed: `recorded` is false if the failure code came without a record
 * of the task. pending: keep waiting. absent: it does not know the task (normal in the first minute).
 * unavailable: the request failed, which says nothing about the task.
 */
export type Lookup =
  | ({ readonly kind: 'succeeded' } & Result)
  | { readonly kind: 'failed'; readonly failure: FailureCause; readonly recorded: boolean }
  | ({ readonly kind: 'pending' } & Dropped)
  | { readonly kind: 'absent'; readonly upstreamCode: number }
  | { readonly kind: 'unavailable' }

/** The content of a callback. An inconclusive callback reports neither success nor failure, and causes a poll. */
export interface CallbackNews {
  readonly upstreamTaskId: string
  readonly outcome:
    | ({ readonly kind: 'succeeded' } & Result)
    | { readonly kind: 'failed'; readonly failure: FailureCause }
    | ({ readonly kind: 'inconclusive' } & Dropped)
}

/** The paid API. Every answer, however odd, comes back as a value: these methods do not throw. */
export interface Upscaler {
  /** Sends the paid request exactly once. */
  submit(request: SubmitRequest, correlationId: string): Promise<SubmitAnswer>
  /** Asks about an accepted task; free of charge. Gives up after `timeoutMs`. */
  lookup(upstreamTaskId: string, options: { timeoutMs: number; correlationId: string }): Promise<Lookup>
  /** How many credits the account has left; null when the upstream does not say. */
  credits(options: { timeoutMs: number; correlationId: string }): Promise<number | null>
}

/** Instants come from the wall clock, which can be set; durations come from the monotonic clock, which cannot. */
export interface Clock {
  /** The wall clock: Unix milliseconds. For instants that are stored, sent, or compared with those of other systems. */
  now(): number
  /** The monotonic clock: milliseconds since an arbitrary start. For every duration that is measured in memory. */
  elapsed(): number
  /** Calls back once after `ms` milliseconds, unless disposed of before. */
  after(ms: number, callback: () => void): Disposable
}

export interface Secrets {
  /** A new unique id. */
  newId(): string
  /** A new unguessable secret, safe in a URL. */
  newToken(): string
  /** A one-way digest of a text. */
  digest(text: string): string
}

/** Structured log lines: facts first, then a sentence. */
export interface Log {
  info(facts: object, sentence: string): void
  warn(facts: object, sentence: string): void
  error(facts: object, sentence: string): void
}

/** Numbers the core is run with; milliseconds. */
export interface TaskPolicy {
  readonly deadlineMs: number
  readonly pollIntervalMs: number
  readonly reassertMs: number
  /** How long the vendor is expected to keep an image. */
  readonly imageLifetimeMs: number
  readonly idempotencyKeyLifetimeMs: number
  /** How long the paid request may take. */
  readonly submitTimeoutMs: number
  /** The lease on the answer to a submit: a replay waits at most this long for a process that has died. */
  readonly answerLeaseMs: number
  /** How long a poll may take. */
  readonly pollTimeoutMs: number
  /** How long a callback may wait for what record-info says: for the precise code, or for confirmation. */
  readonly confirmTimeoutMs: number
  /** Polls per second, over all tasks. */
  readonly pollsPerSecond: number
  /** True: a callback's success counts only once record-info agrees. */
  readonly confirmCallbacks: boolean
  /** How long settled tasks are kept; null: for ever. */
  readonly retentionMs: number | null
}

/** Why a new submit is not let through, and for how long. */
export type RateRefusal = FailureCause & { readonly retryAfterMs: number }

/** What is left of a rate: `resetAt` null while nothing was used. Instants in Unix milliseconds. */
export interface RateBudget {
  readonly limit: number
  readonly remaining: number
  readonly resetAt: number | null
}

/** Holds back new submits, per owner and for the upstream's account. */
export interface RateLimits {
  /** Counts one new submit, or says why it must wait; one that must wait is not counted. */
  take(owner: string): Promise<RateRefusal | null>
  /** As `take`, for what costs the upstream nothing. */
  takeOwn(owner: string): Promise<RateRefusal | null>
  /** What is left of the upstream account's rate; null where there is no limit. */
  upstream(now: number): Promise<RateBudget | null>
}

/** Limits the polls of all tasks in any second. */
export interface PollBudget {
  /** Takes up to `wanted` polls and returns how many it got. Callers of `wait` have priority. */
  take(wanted: number): Promise<number>
  /** Returns polls that were taken and not made. */
  giveBack(count: number): Promise<void>
  /** Waits for one poll; false if none was free within `timeoutMs`. */
  wait(timeoutMs: number): Promise<boolean>
}

/** Deliveries to callers' own servers, as far as tasks know them. */
export interface DeliveryQueue {
  /** Adds a callback URL to a task, due now if the task has settled; no effect if it exists. False: the task has its maximum. */
  add(task: UpscaleTask, url: string): Promise<boolean>
  /** Starts due deliveries now instead of at the next round of the worker. */
  wake(): void
}

/** Everything the core is built from. */
export interface TaskDependencies {
  readonly store: TaskStore
  readonly hints: TaskHints
  readonly upscaler: Upscaler
  readonly clock: Clock
  readonly secrets: Secrets
  readonly limits: RateLimits
  readonly budget: PollBudget
  readonly deliveries: DeliveryQueue
  readonly log: Log
  readonly policy: TaskPolicy
  /** The URL under which the upstream reaches the callback handler for this task; null when it cannot. */
  callbackUrl(taskId: string, token: string): string | null
}
