import type { TaskDependencies } from './ports.ts'
import { isSettled, type UpscaleTask } from './task.ts'

export interface WatchRequest {
  readonly owner: string
  readonly id: string
  /** The version the watcher has already; only exactly the current one spares the first event. */
  readonly afterVersion: number | null
  /** Where the watcher can be asked to show the state once more, at once. */
  readonly onRepeat?: (repeat: () => void) => Disposable
}

/**
 * Follows one task: the current state first, then every newer one, and the same state again whenever
 * `reassertMs` passed without an event; ends with the settled state. Yields null, once, when the task is
 * unknown or someone else's.
 *
 * The watcher pulls. Between two pulls nothing is kept but the fact that something changed, so a slow
 * reader costs one flag and gets the newest state. The version never falls, because a state older than
 * the one shown last is not shown.
 */
export function watchTask(
  deps: Pick<TaskDependencies, 'store' | 'hints' | 'clock' | 'log' | 'policy'>,
  request: WatchRequest,
): AsyncIterableIterator<UpscaleTask | null> {
  return new TaskWatch(deps, request)
}

class TaskWatch implements AsyncIterableIterator<UpscaleTask | null> {
  readonly #deps: Pick<TaskDependencies, 'store' | 'hints' | 'clock' | 'log' | 'policy'>
  readonly #request: WatchRequest
  #listening: Promise<Disposable> | undefined
  #repeating: Disposable | undefined
  #changed = true
  #repeat = false
  #ended = false
  #wake: (() => void) | undefined
  /** The version shown last; undefined until the first read. */
  #shown: number | undefined
  #lastEventAt = 0

  constructor(
    deps: Pick<TaskDependencies, 'store' | 'hints' | 'clock' | 'log' | 'policy'>,
    request: WatchRequest,
  ) {
    this.#deps = deps
    this.#request = request
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<UpscaleTask | null, undefined>> {
    if (this.#isOver()) return this.return()
    // Armed before the first read: a commit between the two is heard of.
    this.#listening ??= this.#deps.hints.listen(this.#request.id, () => {
      this.#changed = true
      this.#wake?.()
    })
    this.#repeating ??= this.#request.onRepeat?.(() => {
      this.#changed = this.#repeat = true
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
  async #look(): Promise<UpscaleTask | null | undefined> {
    const { clock, policy } = this.#deps
    const due = this.#repeat || clock.now() >= this.#lastEventAt + policy.reassertMs
    if (!this.#changed && !due) return undefined
    this.#changed = this.#repeat = false
    const task = await this.#read()
    if (task === undefined) return undefined
    const shown = this.#shown
    if (task === null) {
      this.#ended = true
      return shown === undefined ? null : undefined
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

  /** The task; null when it is not there for this owner; undefined when the store could not say just now. */
  async #read(): Promise<UpscaleTask | null | undefined> {
    try {
      const task = await this.#deps.store.read(this.#request.id)
      return task?.owner === this.#request.owner ? task : null
    } catch (error) {
      if (this.#shown === undefined) throw error
      // A stream that runs outlives a store that is away for a moment: the next re-assertion reads again.
      this.#deps.log.warn({ err: error, taskId: this.#request.id }, 'a watched task could not be read')
      this.#lastEventAt = this.#deps.clock.now()
      return undefined
    }
  }

  /** Until a hint, the re-assertion, or the end. */
  async #sleep(): Promise<void> {
    if (this.#changed) return
    const { clock, policy } = this.#deps
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    using _ = clock.after(this.#lastEventAt + policy.reassertMs - clock.now(), resolve)
    await promise
    this.#wake = undefined
  }

  async return(): Promise<IteratorResult<UpscaleTask | null, undefined>> {
    this.#ended = true
    this.#wake?.()
    this.#repeating?.[Symbol.dispose]()
    const listening = this.#listening
    this.#listening = undefined
    await listening?.then(
      (listener) => listener[Symbol.dispose](),
      () => undefined,
    )
    return { done: true, value: undefined }
  }
}
