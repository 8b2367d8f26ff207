import { ChangeScan } from './change-scan.ts'
import { OwnerChanges } from './owner-changes.ts'
import { toOwnerTopic } from './owner-topic.ts'
import { StoreUnavailableError, type TaskStore } from '../store-port.ts'
import type { TaskStatus, UpscaleTask } from '../task.ts'
import { toEnding, type StreamEnd, type StreamEnding } from './watch-state.ts'
import type { WatchControl, WatchDependencies, WatchRequest } from './watch.ts'

export interface OwnerRequest extends Pick<WatchRequest<WatchControl>, 'until' | 'onOpen'> {
  readonly owner: string
  /** Only states with this status; null: all. */
  readonly status: TaskStatus | null
}

export type OwnerEvent = UpscaleTask | StreamEnd

type OwnerDependencies = Omit<WatchDependencies, 'store' | 'places'> & {
  readonly store: Pick<TaskStore, 'list' | 'listChanges' | 'readMany'>
}

/** The events of an owner's tasks. `return()` ends them also while `next()` waits. */
export type OwnerWatch = AsyncIterableIterator<OwnerEvent, undefined>

/** How many current tasks are sent at first. */
const MAX_CURRENT = 100

/**
 * Follows all tasks of an owner, new ones included: sends the current ones first, the newest up to 100, then
 * every change. A task's version never falls. A slow reader gets the newest state of each task. A change
 * whose hint is lost is sent after `reassertMs` at the latest; unchanged states are not sent again.
 */
export function watchOwner(deps: OwnerDependencies, request: OwnerRequest): OwnerWatch {
  return new TasksOfOwner(deps, request)
}

class TasksOfOwner implements OwnerWatch, WatchControl {
  readonly #deps: OwnerDependencies
  readonly #request: OwnerRequest
  readonly #changes: OwnerChanges
  readonly #scan: ChangeScan
  readonly #events: AsyncGenerator<OwnerEvent, undefined>
  #opened: Disposable | undefined
  #listening: Promise<Disposable> | undefined
  /** Whether the current tasks have been read. */
  #hasBegun = false
  #end: StreamEnd | 'DONE' | null = null
  #isRequested = false
  #ending: StreamEnding | null = null
  /** Wakes the generator while it waits. */
  #wake: (() => void) | undefined

  constructor(deps: OwnerDependencies, request: OwnerRequest) {
    const { owner, status } = request
    const { store, clock, policy } = deps
    this.#deps = deps
    this.#request = request
    this.#changes = new OwnerChanges(status)
    this.#scan = new ChangeScan({ store, clock, owner, fullEveryMs: policy.reassertMs }, this.#changes)
    this.#opened = request.onOpen?.(this)
    this.#events = this.#follow()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  ending(): StreamEnding | null {
    return this.#ending
  }

  next(): Promise<IteratorResult<OwnerEvent, undefined>> {
    this.#isRequested = true
    return this.#events.next()
  }

  /** Wakes the generator, so that it ends: a waiting generator cannot be ended from outside. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    if (this.#isRequested) this.#ending ??= 'client'
    this.#end = 'DONE'
    this.#wake?.()
    await this.#dispose()
    return { done: true, value: undefined }
  }

  /** Sends the changes whose hints were lost. */
  repeat(): void {
    this.#scan.requestFull()
    this.#wake?.()
  }

  end(): void {
    this.#end ??= 'GOING_AWAY'
    this.#wake?.()
  }

  async *#follow(): AsyncGenerator<OwnerEvent, undefined> {
    try {
      // Listens before it reads, so that no commit between the two is missed.
      await this.#listen()
      await this.#begin()
      while (this.#end !== 'DONE') {
        const end = this.#end ?? (this.#msUntilExpiry() <= 0 ? 'EXPIRED' : null)
        if (end !== null) {
          this.#end = 'DONE'
          this.#ending ??= toEnding(end)
          yield end
          continue
        }
        const task = this.#changes.take()
        if (task !== undefined) yield task
        else if (this.#scan.dueInMs() <= 0) await this.#stepScan()
        else await this.#wait()
      }
    } catch (error) {
      this.#ending ??= 'error'
      throw error
    } finally {
      await this.#dispose()
    }
  }

  async #listen(): Promise<void> {
    if (this.#end === 'DONE') return
    this.#listening = this.#deps.hints.listen(toOwnerTopic(this.#request.owner), (task) =>
      this.#receive(task),
    )
    await this.#listening
  }

  #receive(task: UpscaleTask | undefined): void {
    // Owners can share a topic.
    if (task !== undefined && task.owner !== this.#request.owner) return
    const isAdded = task !== undefined && this.#hasBegun && this.#changes.add(task)
    if (!isAdded) this.#scan.request()
    this.#wake?.()
  }

  async #begin(): Promise<void> {
    if (this.#end !== null) return
    try {
      for (const task of await this.#readCurrent()) {
        this.#changes.forget(task.id)
        this.#changes.add(task)
      }
      this.#hasBegun = true
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error
      const { owner } = this.#request
      this.#deps.log.warn({ err: error, owner }, 'failed to read the tasks of an owner: the stream ends')
      this.#end ??= 'UNAVAILABLE'
    }
  }

  async #readCurrent(): Promise<UpscaleTask[]> {
    const { owner, status } = this.#request
    await this.#scan.begin()
    return this.#deps.store.list({ owner, status, after: null, limit: MAX_CURRENT })
  }

  async #stepScan(): Promise<void> {
    try {
      await this.#scan.step()
    } catch (error) {
      const { owner } = this.#request
      this.#deps.log.warn({ err: error, owner }, 'failed to read the changed tasks of an owner: retrying')
    }
  }

  async #wait(): Promise<void> {
    const woken = Promise.withResolvers<void>()
    this.#wake = woken.resolve
    const ms = Math.min(this.#scan.dueInMs(), this.#msUntilExpiry())
    using _timer = this.#deps.clock.after(ms, woken.resolve)
    await woken.promise
  }

  #msUntilExpiry(): number {
    return (this.#request.until ?? Infinity) - this.#deps.clock.now()
  }

  async #dispose(): Promise<void> {
    this.#opened?.[Symbol.dispose]()
    this.#opened = undefined
    const listening = this.#listening
    this.#listening = undefined
    await listening?.then(
      (listener) => listener[Symbol.dispose](),
      () => undefined,
    )
  }
}
