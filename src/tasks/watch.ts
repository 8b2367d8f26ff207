import type { TaskDependencies } from './ports.ts'
import { isSettled, type UpscaleTask } from './task.ts'

export interface WatchRequest {
  /** Whose tasks may be watched; null: the watcher has shown a right to this very task. */
  readonly owner: string | null
  readonly id: string
  /** The version the watcher has already; only exactly the current one spares the first event. */
  readonly afterVersion: number | null
  /** When the right to watch ends; null: never. Unix milliseconds. */
  readonly until: number | null
  /** Told of the watch before it begins. What it gives back is disposed of at the end; what it throws is thrown. */
  readonly onOpen?: (watch: WatchControl) => Disposable
}

/** What may be asked of a watch from outside. */
export interface WatchControl {
  /** Shows the state once more, at once. */
  repeat(): void
  /** Ends the watch with GOING_AWAY. */
  end(): void
}

/** Why a watch ended before the task did: it is not there for this watcher, the right to watch is over, or we stop. */
export type WatchEnd = 'NOT_FOUND' | 'EXPIRED' | 'GOING_AWAY'

/** What a watcher is shown. After a WatchEnd nothing comes. */
export type WatchEvent = UpscaleTask | WatchEnd

/** How long after a read that failed the next is tried. */
const READ_AGAIN_MS = 1_000

/** Takes an event as it comes. While the promise it may give back is pending, it is given no other. */
export type TakeEvent = (event: WatchEvent) => Promise<void> | undefined

/** A watch: asked for its events one by one, as an iterator is, or giving them away. */
export interface Watch extends AsyncIterableIterator<WatchEvent, undefined> {
  /**
   * Gives every event to `take`: the newest state within the very call that announces it, if `take` is free. Resolves at the
   * end of the watch; rejects with what went wrong, also in `take`.
   */
  giveTo(take: TakeEvent): Promise<void>
}

type WatchDependencies = Pick<TaskDependencies, 'store' | 'hints' | 'clock' | 'log' | 'policy'>

/**
 * Follows one task: the current state first, then every newer one, and the same state again whenever
 * `reassertMs` passed without an event; ends with the settled state, or with a WatchEnd.
 *
 * While its reader is busy nothing is kept but the fact that something changed, or the newest state that came with a hint, so
 * a slow reader costs no queue and gets the newest state. The version never falls, because a state older than the one shown
 * last is not shown.
 */
export function watchTask(deps: WatchDependencies, request: WatchRequest): Watch {
  return new TaskWatch(deps, request)
}

class TaskWatch implements Watch {
  readonly #deps: WatchDependencies
  readonly #request: WatchRequest
  readonly #opened: Disposable | undefined
  #listening: Promise<Disposable> | undefined
  /** Something was heard of that has to be read. */
  #changed = true
  /** A committed state that came with a hint, and has not been shown. */
  #news: UpscaleTask | undefined
  #repeat = false
  #goingAway = false
  #ended = false
  /** Who is given the events, if anyone is. */
  #take: TakeEvent | undefined
  /** What has to be over before the next event. */
  #busy: Promise<void> | undefined
  /** Ends the sleep there is. */
  #resume: (() => void) | undefined
  #alarm: Disposable | undefined
  #alarmAt = Infinity
  /** The version shown last; undefined until the first read. */
  #shown: number | undefined
  /** On the monotonic clock, as `#readAgainAt` and `#alarmAt`. */
  #lastEventAt = -Infinity
  /** After a read that failed: when to read again. */
  #readAgainAt = Infinity

  constructor(deps: WatchDependencies, request: WatchRequest) {
    this.#deps = deps
    this.#request = request
    this.#opened = request.onOpen?.(this)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  repeat(): void {
    this.#repeat = true
    this.#change()
  }

  end(): void {
    this.#goingAway = true
    this.#change()
  }

  async next(): Promise<IteratorResult<WatchEvent, undefined>> {
    const event = await this.#find()
    return event === undefined ? this.return() : { done: false, value: event }
  }

  async giveTo(take: TakeEvent): Promise<void> {
    this.#take = take
    try {
      for (;;) {
        const event = await this.#find()
        if (event === undefined) return
        await take(event)
      }
    } finally {
      await this.return()
    }
  }

  async return(): Promise<IteratorResult<WatchEvent, undefined>> {
    this.#ended = true
    this.#wake()
    this.#alarm?.[Symbol.dispose]()
    this.#alarmAt = Infinity
    this.#opened?.[Symbol.dispose]()
    const listening = this.#listening
    this.#listening = undefined
    await listening?.then(
      (listener) => listener[Symbol.dispose](),
      () => undefined,
    )
    return { done: true, value: undefined }
  }

  /** The next event; undefined when there is none any more. */
  async #find(): Promise<WatchEvent | undefined> {
    try {
      // Armed before the first read: a commit between the two is heard of.
      if (this.#listening === undefined && !this.#isOver()) {
        this.#listening = this.#deps.hints.listen(this.#request.id, (state) => this.#hear(state))
        await this.#listening
      }
      while (!this.#isOver()) {
        const event = this.#findEnd() ?? this.#show(this.#isDue() ? await this.#read() : this.#takeNews())
        if (event !== undefined) return event
        if (!this.#isOver() && !this.#changed && this.#news === undefined) await this.#sleep()
        await this.#busy
        this.#busy = undefined
      }
      return undefined
    } catch (error) {
      await this.return()
      throw error
    }
  }

  #isOver(): boolean {
    return this.#ended
  }

  /** Why the watch is to end now, whatever the task does. */
  #findEnd(): WatchEnd | undefined {
    const until = this.#request.until ?? Infinity
    const end = this.#goingAway ? 'GOING_AWAY' : this.#deps.clock.now() >= until ? 'EXPIRED' : undefined
    this.#ended ||= end !== undefined
    return end
  }

  /** Whether there is a reason to read. */
  #isDue(): boolean {
    return this.#changed || this.#repeat || this.#deps.clock.elapsed() >= this.#nextReadAt
  }

  /** When to read without having heard anything. While it cannot be read, it cannot be shown again either. */
  get #nextReadAt(): number {
    if (this.#readAgainAt !== Infinity) return this.#readAgainAt
    return this.#lastEventAt + this.#deps.policy.reassertMs
  }

  /** The task; null when it is not there for this owner; undefined when the store could not say just now. */
  async #read(): Promise<UpscaleTask | null | undefined> {
    this.#changed = false
    this.#readAgainAt = Infinity
    const { id, owner } = this.#request
    try {
      const task = await this.#deps.store.read(id)
      return task && (owner === null || task.owner === owner) ? task : null
    } catch (error) {
      if (this.#shown === undefined) throw error
      // A stream that runs outlives a store that is away for a moment.
      this.#deps.log.warn({ err: error, taskId: id }, 'a watched task could not be read')
      this.#readAgainAt = this.#deps.clock.elapsed() + READ_AGAIN_MS
      return undefined
    }
  }

  #takeNews(): UpscaleTask | undefined {
    const news = this.#news
    this.#news = undefined
    return news && news.version > (this.#shown ?? 0) ? news : undefined
  }

  /** What is to be shown of the task; undefined: nothing. */
  #show(task: UpscaleTask | null | undefined): WatchEvent | undefined {
    if (task === undefined) return undefined
    const shown = this.#shown
    if (task === null) {
      this.#ended = true
      return shown === undefined ? 'NOT_FOUND' : undefined
    }
    const { clock, policy } = this.#deps
    if (shown !== undefined && task.version < shown) this.#readAgainAt = clock.elapsed() + READ_AGAIN_MS
    const due = this.#repeat || clock.elapsed() >= this.#lastEventAt + policy.reassertMs
    this.#repeat = false
    this.#ended ||= isSettled(task)
    const news = shown === undefined ? task.version !== this.#request.afterVersion : task.version > shown
    const repeat = due && task.version === shown
    if (!news && !repeat && shown !== undefined) return undefined
    this.#shown = task.version
    this.#lastEventAt = clock.elapsed()
    return news || repeat ? task : undefined
  }

  /** Until a hint, the re-assertion, or an end. */
  #sleep(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#resume = resolve
    this.#setAlarm()
    return promise
  }

  #change(): void {
    this.#changed = true
    this.#wake()
  }

  #hear(state: UpscaleTask | undefined): void {
    if (state === undefined) this.#changed = true
    else if (state.version > (this.#news?.version ?? 0)) this.#news = state
    if (!this.#giveAtOnce()) this.#wake()
  }

  /** Passes a state that came with a hint to a waiting consumer; false when work is left. */
  #giveAtOnce(): boolean {
    const asleep = this.#resume !== undefined && !this.#changed && !this.#repeat && !this.#goingAway
    // The woken loop sends the event that ends the watch.
    const over = this.#deps.clock.now() >= (this.#request.until ?? Infinity)
    if (this.#take === undefined || !asleep || over) return false
    const event = this.#show(this.#takeNews())
    if (event === undefined) return true
    try {
      this.#busy = this.#take(event)
    } catch (error) {
      this.#busy = Promise.reject(error instanceof Error ? error : new Error(String(error)))
    }
    return this.#busy === undefined && !this.#ended
  }

  #wake(): void {
    this.#resume?.()
    this.#resume = undefined
  }

  /** An alarm that rings too early is set again, so postponing it needs no new timer. */
  #setAlarm(): void {
    const { clock } = this.#deps
    const elapsed = clock.elapsed()
    // `until` is a wall-clock instant, so the remaining time is computed anew each time.
    const at = Math.min(this.#nextReadAt, elapsed + (this.#request.until ?? Infinity) - clock.now())
    if (this.#alarmAt <= at) return
    if (at <= elapsed) {
      this.#wake()
      return
    }
    this.#alarm?.[Symbol.dispose]()
    this.#alarmAt = at
    this.#alarm = clock.after(at - elapsed, () => {
      this.#alarmAt = Infinity
      if (this.#resume === undefined) return
      this.#setAlarm()
    })
  }
}
