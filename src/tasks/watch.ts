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

type WatchDependencies = Pick<TaskDependencies, 'store' | 'hints' | 'clock' | 'log' | 'policy'>

/**
 * Follows one task: the current state first, then every newer one, and the same state again whenever
 * `reassertMs` passed without an event; ends with the settled state, or with a WatchEnd.
 *
 * The watcher pulls. Between two pulls nothing is kept but the fact that something changed, so a slow
 * reader costs one flag and gets the newest state. The version never falls, because a state older than
 * the one shown last is not shown.
 */
export function watchTask(deps: WatchDependencies, request: WatchRequest): AsyncIterableIterator<WatchEvent> {
  return new TaskWatch(deps, request)
}

class TaskWatch implements AsyncIterableIterator<WatchEvent> {
  readonly #deps: WatchDependencies
  readonly #request: WatchRequest
  readonly #opened: Disposable | undefined
  #listening: Promise<Disposable> | undefined
  #changed = true
  #repeat = false
  #goingAway = false
  #ended = false
  #wake: (() => void) | undefined
  /** The version shown last; undefined until the first read. */
  #shown: number | undefined
  #lastEventAt = 0
  /** After a read that failed: when to read again. */
  #readAgainAt = Infinity

  constructor(deps: WatchDependencies, request: WatchRequest) {
    this.#deps = deps
    this.#request = request
    const change = (what: () => void) => {
      what()
      this.#changed = true
      this.#wake?.()
    }
    this.#opened = request.onOpen?.({
      repeat: () => change(() => (this.#repeat = true)),
      end: () => change(() => (this.#goingAway = true)),
    })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<WatchEvent, undefined>> {
    if (this.#isOver()) return this.return()
    // Armed before the first read: a commit between the two is heard of.
    this.#listening ??= this.#deps.hints.listen(this.#request.id, () => {
      this.#changed = true
      this.#wake?.()
    })
    try {
      await this.#listening
      while (!this.#isOver()) {
        const event = await this.#look()
        if (event !== undefined) return { done: false, value: event }
        if (!this.#isOver()) await this.#sleep()
      }
    } catch (error) {
      await this.return()
      throw error
    }
    return this.return()
  }

  #isOver(): boolean {
    return this.#ended
  }

  /** Reads, if there is a reason to, and says what there is to show; undefined: nothing. */
  async #look(): Promise<WatchEvent | undefined> {
    const { clock, policy } = this.#deps
    const end = this.#findEnd()
    if (end !== undefined) {
      this.#ended = true
      return end
    }
    const due = this.#repeat || clock.now() >= this.#lastEventAt + policy.reassertMs
    if (!this.#changed && !due && clock.now() < this.#readAgainAt) return undefined
    this.#changed = this.#repeat = false
    this.#readAgainAt = Infinity
    const task = await this.#read()
    if (task === undefined) return undefined
    const shown = this.#shown
    if (task === null) {
      this.#ended = true
      return shown === undefined ? 'NOT_FOUND' : undefined
    }
    this.#ended ||= isSettled(task)
    const news = shown === undefined ? task.version !== this.#request.afterVersion : task.version > shown
    const repeat = due && task.version === shown
    if (news || repeat || shown === undefined) {
      this.#shown = task.version
      this.#lastEventAt = clock.now()
    }
    return news || repeat ? task : undefined
  }

  /** Why the watch is to end now, whatever the task does. */
  #findEnd(): WatchEnd | undefined {
    if (this.#goingAway) return 'GOING_AWAY'
    return this.#deps.clock.now() >= this.#until ? 'EXPIRED' : undefined
  }

  get #until(): number {
    return this.#request.until ?? Infinity
  }

  /** The task; null when it is not there for this owner; undefined when the store could not say just now. */
  async #read(): Promise<UpscaleTask | null | undefined> {
    try {
      const { id, owner } = this.#request
      const task = await this.#deps.store.read(id)
      return task && (owner === null || task.owner === owner) ? task : null
    } catch (error) {
      if (this.#shown === undefined) throw error
      // A stream that runs outlives a store that is away for a moment.
      this.#deps.log.warn({ err: error, taskId: this.#request.id }, 'a watched task could not be read')
      this.#readAgainAt = this.#deps.clock.now() + READ_AGAIN_MS
      return undefined
    }
  }

  /** Until a hint, the re-assertion, or an end. */
  async #sleep(): Promise<void> {
    if (this.#changed) return
    const { clock, policy } = this.#deps
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    // While it cannot be read, it cannot be shown again either.
    const repeatAt = this.#lastEventAt + policy.reassertMs
    const until = Math.min(this.#readAgainAt === Infinity ? repeatAt : this.#readAgainAt, this.#until)
    using _ = clock.after(until - clock.now(), resolve)
    await promise
    this.#wake = undefined
  }

  async return(): Promise<IteratorResult<WatchEvent, undefined>> {
    this.#ended = true
    this.#wake?.()
    this.#opened?.[Symbol.dispose]()
    const listening = this.#listening
    this.#listening = undefined
    await listening?.then(
      (listener) => listener[Symbol.dispose](),
      () => undefined,
    )
    return { done: true, value: undefined }
  }
}
