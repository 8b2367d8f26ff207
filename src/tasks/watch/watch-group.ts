import type { UpscaleTask } from '../task.ts'
import { toEnding, type StreamEnd, type StreamEnding, type WatchEvent } from './watch-state.ts'
import { TaskWatch, type WatchControl, type WatchDependencies, type WatchRequest } from './watch.ts'

export interface GroupRequest extends Pick<WatchRequest<WatchControl>, 'until' | 'onOpen' | 'withPlace'> {
  readonly owner: string
  /** The tasks, each once. `afterVersion`: the version that the client has; null: none. */
  readonly tasks: readonly Pick<WatchRequest, 'id' | 'afterVersion'>[]
}

/** The owner has no task with this id. */
interface UnknownTask {
  readonly unknownId: string
}

/** A StreamEnd ends all watches of the group. An UnknownTask does not. */
export type GroupEvent = UpscaleTask | UnknownTask | StreamEnd

/**
 * The events of several tasks, until all their watches have ended. `return()` ends them also while `next()`
 * waits.
 */
export type GroupWatch = AsyncIterableIterator<GroupEvent, undefined>

/**
 * Follows several tasks in one stream. Each task has the guarantees of `watchTask`. Tasks with events take
 * turns. Each task has at most one unread event, which is replaced by a newer state when it is delivered.
 */
export function watchGroup(deps: WatchDependencies, request: GroupRequest): GroupWatch {
  return new MergedWatches(deps, request)
}

interface Member {
  readonly id: string
  readonly watch: TaskWatch
}

/** What the watch of a member has answered to a request for its next event. */
interface Answer {
  readonly member: Member
  readonly next: IteratorResult<WatchEvent, undefined> | { readonly error: unknown }
}

class MergedWatches implements GroupWatch, WatchControl {
  readonly #deps: WatchDependencies
  readonly #until: number | null
  #opened: Disposable | undefined
  readonly #events: AsyncGenerator<GroupEvent, undefined>
  /** The members whose watches have not ended. */
  readonly #members: Set<Member>
  /** The members whose next event has not been requested. */
  #idle: Member[]
  /** The unread answers, in the order of their arrival. */
  readonly #answers: Answer[] = []
  #end: StreamEnd | 'DONE' | null = null
  #hasBegun = false
  /** Whether the owner has one of the tasks. */
  #hasFound = false
  #ending: StreamEnding | null = null
  /** Wakes the generator while it waits. */
  #wake: (() => void) | undefined

  constructor(deps: WatchDependencies, { owner, tasks, until, onOpen, withPlace = false }: GroupRequest) {
    this.#deps = deps
    this.#until = until
    this.#opened = onOpen?.(this)
    this.#idle = tasks.map(({ id, afterVersion }) => ({
      id,
      watch: new TaskWatch(deps, { owner, id, afterVersion, until, withPlace }),
    }))
    this.#members = new Set(this.#idle)
    this.#events = this.#follow()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  ending(): StreamEnding | null {
    return this.#ending
  }

  next(): Promise<IteratorResult<GroupEvent, undefined>> {
    this.#hasBegun = true
    return this.#events.next()
  }

  /** Wakes the generator, so that it ends: a waiting generator cannot be ended from outside. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    if (this.#hasBegun) this.#ending ??= 'client'
    this.#end = 'DONE'
    this.#wake?.()
    await this.#dispose()
    return { done: true, value: undefined }
  }

  repeat(): void {
    for (const { watch } of this.#members) watch.repeat()
  }

  end(): void {
    this.#end ??= 'GOING_AWAY'
    this.#wake?.()
  }

  async *#follow(): AsyncGenerator<GroupEvent, undefined> {
    try {
      while (this.#end !== 'DONE') {
        const end = this.#end ?? (this.#deps.clock.now() >= (this.#until ?? Infinity) ? 'EXPIRED' : null)
        if (end !== null) {
          this.#end = 'DONE'
          this.#ending ??= toEnding(end)
          yield end
          continue
        }
        for (const member of this.#idle.splice(0)) this.#requestNext(member)
        const answer = this.#answers.shift()
        const event = answer && (await this.#toEvent(answer))
        if (event !== undefined) yield event
        else if (this.#members.size === 0) {
          this.#ending ??= this.#hasFound ? 'settled' : 'not_found'
          return undefined
        } else if (answer === undefined) await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } catch (error) {
      this.#ending ??= 'error'
      throw error
    } finally {
      await this.#dispose()
    }
  }

  #requestNext(member: Member): void {
    const receive = (next: Answer['next']) => {
      this.#answers.push({ member, next })
      this.#wake?.()
    }
    member.watch.next().then(receive, (error: unknown) => receive({ error }))
  }

  /** Undefined: the answer is not an event of the group. */
  async #toEvent({ member, next }: Answer): Promise<GroupEvent | undefined> {
    if ('error' in next) throw next.error
    if (next.done === true) {
      this.#members.delete(member)
      return undefined
    }
    this.#idle.push(member)
    const { value } = next
    if (value === 'NOT_FOUND') return { unknownId: member.id }
    if (typeof value === 'object') {
      this.#hasFound = true
      return member.watch.freshen(value)
    }
    this.#end ??= value
    return undefined
  }

  async #dispose(): Promise<void> {
    this.#opened?.[Symbol.dispose]()
    this.#opened = undefined
    await Promise.all([...this.#members].map(({ watch }) => watch.return()))
  }
}
