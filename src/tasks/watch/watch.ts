import type { TaskDependencies } from '../ports.ts'
import { StoreUnavailableError } from '../store-port.ts'
import type { QueuePlaces } from '../queue/queue-places.ts'
import type { UpscaleTask } from '../task.ts'
import {
  decide,
  INITIAL_STATE,
  toEnding,
  toNextState,
  type Instant,
  type StreamEnding,
  type WatchEvent,
  type WatchInput,
  type WatchRules,
} from './watch-state.ts'

export interface WatchRequest<Control = TaskWatchControl> extends Pick<WatchRules, 'afterVersion' | 'until'> {
  /** The owner whose tasks may be watched; null: the caller is already authorized for this task. */
  readonly owner: string | null
  readonly id: string
  /** Sends the state again when the task's place in the queue changes, at most once a second. */
  readonly withPlace?: boolean
  /**
   * Called before the watch begins. The watch disposes of its result at the end. `watchTask` throws its
   * errors.
   */
  readonly onOpen?: (watch: Control) => Disposable
}

/** How a transport controls a running watch. */
export interface WatchControl {
  /** Sends the state again now. */
  repeat(): void
  /** Ends the watch with GOING_AWAY. */
  end(): void
  /** How the watch has ended; null: it has not, or no event of it was requested. */
  ending(): StreamEnding | null
}

interface TaskWatchControl extends WatchControl {
  /** The trace of the task; null: none, or no state has been sent. */
  traceparent(): string | null
}

export type WatchDependencies = Pick<TaskDependencies, 'store' | 'hints' | 'clock' | 'log'> & {
  readonly places: Pick<QueuePlaces, 'follow'>
  readonly policy: Pick<TaskDependencies['policy'], 'reassertMs'>
}

/**
 * The events of one task, until its watch ends. `return()` ends the watch also while `next()` waits. One
 * `next()` at a time.
 */
export type Watch = AsyncIterableIterator<WatchEvent, undefined>

/**
 * Follows one task: sends the current state first, unless `afterVersion` equals its version, then every newer
 * one, and the same state again after `reassertMs` without an event; ends with the settled state or with a
 * WatchEnd. The version never falls, and a slow reader gets the newest state.
 */
export function watchTask(deps: WatchDependencies, request: WatchRequest): Watch {
  return new TaskWatch(deps, request)
}

export class TaskWatch implements Watch, TaskWatchControl {
  readonly #deps: WatchDependencies
  readonly #id: string
  readonly #owner: string | null
  readonly #withPlace: boolean
  readonly #afterVersion: number | null
  readonly #until: number | null
  readonly #opened: Disposable | undefined
  #state = INITIAL_STATE
  #listening: Promise<Disposable> | undefined
  /** While the task may be in the queue. */
  #place: Disposable | undefined
  #timer: Disposable | undefined
  #timerAt = Infinity
  #isRequested = false
  #ending: StreamEnding | null = null
  /** Of the task, once it has been sent. Not the task itself: every idle watch would keep one in memory. */
  #correlationId: string | undefined
  #traceparent: string | null = null
  /** Wakes `next()` while it waits. */
  #wake: (() => void) | undefined

  /** The request itself is not kept: its `onOpen` would keep what opened the watch in memory. */
  constructor(
    deps: WatchDependencies,
    { id, owner, withPlace = false, afterVersion, until, onOpen }: WatchRequest,
  ) {
    this.#deps = deps
    this.#id = id
    this.#owner = owner
    this.#withPlace = withPlace
    this.#afterVersion = afterVersion
    this.#until = until
    this.#opened = onOpen?.(this)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  ending(): StreamEnding | null {
    return this.#ending
  }

  traceparent(): string | null {
    return this.#traceparent
  }

  async next(): Promise<IteratorResult<WatchEvent, undefined>> {
    try {
      if (!this.#isRequested) await this.#begin()
      for (;;) {
        const instant = this.#now()
        const step = decide(this.#state, instant, this.#rules())
        if (step.type === 'done') {
          // Without a settled state, the task was deleted.
          this.#ending ??= 'not_found'
          await this.#dispose()
          return { done: true, value: undefined }
        }
        if (step.type === 'wait') {
          await this.#waitForInput(instant.elapsed + step.ms, step.ms)
          continue
        }
        this.#state = step.state
        if (step.type === 'read') {
          await this.#read()
          continue
        }
        this.#noteTask(step.event)
        this.#followPlace(step.event)
        this.#ending ??= toEnding(step.event)
        return { done: false, value: step.event }
      }
    } catch (error) {
      this.#ending ??= 'error'
      this.#receive({ type: 'done' })
      await this.#dispose()
      throw error
    }
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    if (this.#isRequested) this.#ending ??= 'client'
    this.#receive({ type: 'done' })
    await this.#dispose()
    return { done: true, value: undefined }
  }

  repeat(): void {
    this.#receive({ type: 'repeat' })
  }

  end(): void {
    this.#receive({ type: 'end' })
  }

  /** The newest state instead of a state that `next()` has returned, but that has not been sent yet. */
  async freshen(unsent: UpscaleTask): Promise<UpscaleTask> {
    for (;;) {
      const step = decide(this.#state, this.#now(), this.#rules())
      const isNewer = step.type === 'send' && typeof step.event === 'object'
      if (!isNewer && step.type !== 'read') return unsent
      this.#state = step.state
      if (isNewer) return step.event
      await this.#read()
    }
  }

  #noteTask(event: WatchEvent): void {
    if (this.#correlationId !== undefined || typeof event === 'string') return
    this.#correlationId = event.correlationId
    this.#traceparent = event.traceparent
  }

  #followPlace(event: WatchEvent): void {
    // A task that is being sent may go back to the queue.
    const mayBeQueued = typeof event === 'object' && event.status === 'SUBMITTED'
    if (!this.#withPlace || mayBeQueued === (this.#place !== undefined)) return
    this.#place?.[Symbol.dispose]()
    this.#place = mayBeQueued ? this.#deps.places.follow(this.#id, () => this.repeat()) : undefined
  }

  async #dispose(): Promise<void> {
    this.#timer?.[Symbol.dispose]()
    this.#place?.[Symbol.dispose]()
    this.#opened?.[Symbol.dispose]()
    const listening = this.#listening
    this.#listening = undefined
    await listening?.then(
      (listener) => listener[Symbol.dispose](),
      () => undefined,
    )
  }

  /** Listens before the first read, so that no commit between the two is missed. */
  async #begin(): Promise<void> {
    this.#isRequested = true
    if (this.#state.end === 'DONE') return
    const { hints } = this.#deps
    this.#listening = hints.listen(this.#id, (task) => this.#receive({ type: 'hint', task }))
    await this.#listening
  }

  /**
   * A failed read is retried once a state has been sent. Before that, it ends the watch, or its error is
   * thrown.
   */
  async #read(): Promise<void> {
    try {
      const task = await this.#deps.store.read(this.#id)
      const isVisible = task !== undefined && (this.#owner === null || task.owner === this.#owner)
      this.#receive({ type: 'read', task: isVisible ? task : null, elapsed: this.#deps.clock.elapsed() })
    } catch (error) {
      const hasBegun = this.#state.sent !== null
      if (!hasBegun && !(error instanceof StoreUnavailableError)) throw error
      const then = hasBegun ? 'retrying' : 'its stream ends'
      const facts = { err: error, taskId: this.#id, correlationId: this.#correlationId }
      this.#deps.log.warn(facts, `failed to read a watched task: ${then}`)
      this.#receive(
        hasBegun ? { type: 'readFailed', elapsed: this.#deps.clock.elapsed() } : { type: 'unavailable' },
      )
    }
  }

  /**
   * Waits for an input, or for `ms`, until `at`. A timer may fire early, so a running timer is never replaced
   * by a later one.
   */
  #waitForInput(at: number, ms: number): Promise<void> {
    if (at < this.#timerAt) {
      this.#timer?.[Symbol.dispose]()
      this.#timerAt = at
      this.#timer = this.#deps.clock.after(ms, () => {
        this.#timerAt = Infinity
        this.#wake?.()
      })
    }
    return new Promise((resolve) => (this.#wake = resolve))
  }

  #receive(input: WatchInput): void {
    this.#state = toNextState(this.#state, input, this.#rules())
    this.#wake?.()
  }

  #now(): Instant {
    return { now: this.#deps.clock.now(), elapsed: this.#deps.clock.elapsed() }
  }

  #rules(): WatchRules {
    return {
      afterVersion: this.#afterVersion,
      until: this.#until,
      reassertMs: this.#deps.policy.reassertMs,
    }
  }
}
