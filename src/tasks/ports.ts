/**
 * The interfaces that the core needs implemented. Each method states its guarantee; test/contract tests it on
 * every adapter. The larger ones are in store-port.ts, queue/queue-ports.ts and engines/engine-ports.ts.
 */
import type { Engines } from './engines/engine-ports.ts'
import type { TaskObserver } from './observer.ts'
import type { QueueStore } from './queue/queue-ports.ts'
import type { PollBudget, RateLimits } from './rates.ts'
import type { TaskStore } from './store-port.ts'
import type { UpscaleTask } from './task.ts'
import type { Tracing } from './tracing.ts'

/**
 * Announces that a task may have changed. A topic is a task's id, or that of an owner (`toOwnerTopic`); it
 * has no spaces. A hint can be lost, doubled, late or out of order, so a listener re-reads, or compares the
 * version of the hint's state.
 */
export interface TaskHints {
  /**
   * Calls the listeners of this topic; never throws and never waits for them. `state` is the committed task:
   * it saves listeners of the same process a read, and is not sent to other processes.
   */
  announce(topic: string, state?: UpscaleTask): void
  /** Calls `wake` at every announcement on this topic after the promise resolves, until disposed. */
  listen(topic: string, wake: (state?: UpscaleTask) => void): Promise<Disposable>
}

export interface Clock {
  /**
   * The wall clock, which can be set: Unix milliseconds. For instants that are stored, sent, or compared with
   * other systems.
   */
  now(): number
  /** The monotonic clock: milliseconds since an arbitrary start. For every duration. */
  elapsed(): number
  /** Calls back once after `ms` milliseconds, unless disposed before. */
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

export interface Log {
  info(facts: object, sentence: string): void
  warn(facts: object, sentence: string): void
  error(facts: object, sentence: string): void
}

/** The settings of the core. Durations in milliseconds. */
export interface TaskPolicy {
  readonly deadlineMs: number
  readonly pollIntervalMs: number
  readonly reassertMs: number
  /** How long the upstream is expected to keep an image. */
  readonly imageLifetimeMs: number
  readonly idempotencyKeyLifetimeMs: number
  /** How long the paid request may take. */
  readonly submitTimeoutMs: number
  /** The lease on the answer to a submit: a replay waits at most this long for a process that has died. */
  readonly answerLeaseMs: number
  /** How long a poll may take. */
  readonly pollTimeoutMs: number
  /** How long a callback may wait for a poll. */
  readonly confirmTimeoutMs: number
  /** Polls per second, over all tasks. */
  readonly pollsPerSecond: number
  /** Whether a poll must confirm the success that a callback reports. */
  readonly confirmCallbacks: boolean
  /** How long settled tasks are kept; null: for ever. */
  readonly retentionMs: number | null
  /** How long the inspection of a result may delay SUCCEEDED; 0: results are not inspected. */
  readonly inspectMs: number
  /** Whether copies of pictures are made. */
  readonly keepsCopies: boolean
  /** How many tasks of one owner may wait in the queue; null: any number. */
  readonly queueLimit: number | null
  /** Turns in the queue by owner; 1 for all others. */
  readonly ownerWeights: ReadonlyMap<string, number>
  /** Whether a task moves on to the next engine when its engine is unavailable. */
  readonly engineFallback: boolean
}

/** The part of deliveries to callers' servers that the core needs. */
export interface DeliveryQueue {
  /**
   * Adds a callback URL to a task, due now if the task has settled; no effect if it exists. False: the task
   * has the maximum of deliveries.
   */
  add(task: UpscaleTask, url: string): Promise<boolean>
  /** Starts the next round of the delivery worker now. */
  wake(): void
}

export interface TaskDependencies {
  readonly store: TaskStore
  readonly queueStore: QueueStore
  readonly hints: TaskHints
  readonly engines: Engines
  readonly clock: Clock
  readonly secrets: Secrets
  readonly limits: RateLimits
  readonly budget: PollBudget
  readonly deliveries: DeliveryQueue
  /** Starts a round of the queue now. */
  readonly wakeQueue: () => void
  /** Starts a round of the result worker now. */
  readonly wakeResults: () => void
  readonly log: Log
  readonly tracing: Tracing
  /** Gets what happens, for metrics; absent: it is not reported. */
  readonly observer?: TaskObserver
  readonly policy: TaskPolicy
  /** The URL of the callback handler for this task; null if the upstream cannot reach the gateway. */
  callbackUrl(taskId: string, token: string): string | null
}
