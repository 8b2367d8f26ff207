import type { TaskDependencies } from './ports.ts'
import type { Estimates } from './estimates.ts'

/** The place of a waiting task. */
export interface QueuePlace {
  /** 1: it is sent next. */
  readonly position: number
  /** By when nine in ten tasks are sent from such a position, in Unix milliseconds; null: not estimated. */
  readonly estimatedStartAt: number | null
}

/** How often the queue is read at most, and followers are woken. */
const READ_EVERY_MS = 1_000
/** A task that was queued after the latest read causes another one after this time. */
const READ_AGAIN_AFTER_MS = 100
/** Places beyond this are not known. */
const MAX_PLACES = 10_000

type Dependencies = Pick<TaskDependencies, 'queueStore' | 'clock' | 'log'> & { readonly estimates: Estimates }

/**
 * The places of waiting tasks. Reads the queue only while a caller needs a place: at most once a second, or ten times while
 * tasks are added.
 */
export class QueuePlaces {
  readonly #deps: Dependencies
  #latest: { readonly queue: Promise<Queue>; readonly readAt: number } | undefined
  readonly #followers = new Map<string, Set<() => void>>()
  /** The latest places that callers got. A place keeps its estimate until its position changes. */
  #known = new Map<string, QueuePlace>()
  #timer: Disposable | undefined

  constructor(deps: Dependencies) {
    this.#deps = deps
  }

  /** The place of a waiting task, at most a second old; null: it does not wait, or waits too far behind to tell. */
  async find(id: string): Promise<QueuePlace | null> {
    const { positions } = await this.#read(READ_EVERY_MS)
    const isNew = !positions.has(id) && positions.size < MAX_PLACES
    return this.#toPlace(id, await this.#read(isNew ? READ_AGAIN_AFTER_MS : READ_EVERY_MS))
  }

  /** The queue as it was less than `maxAgeMs` ago. */
  #read(maxAgeMs: number): Promise<Queue> {
    const now = this.#deps.clock.elapsed()
    if (this.#latest === undefined || now - this.#latest.readAt >= maxAgeMs)
      this.#latest = { queue: readQueue(this.#deps), readAt: now }
    return this.#latest.queue
  }

  #toPlace(id: string, { positions, toWaitMs }: Queue): QueuePlace | null {
    const position = positions.get(id)
    const before = this.#known.get(id)
    if (position === before?.position) return before ?? null
    if (position === undefined) {
      this.#known.delete(id)
      return null
    }
    const waitMs = toWaitMs(position - 1)
    const place = { position, estimatedStartAt: waitMs === null ? null : this.#deps.clock.now() + waitMs }
    this.#known.set(id, place)
    return place
  }

  /** Calls `changed`, at most once a second, when the place of a task has changed, until disposed. */
  follow(id: string, changed: () => void): Disposable {
    // Wrapped, so that one function that follows twice counts twice.
    const wake = () => changed()
    const wakes = this.#followers.get(id) ?? new Set()
    this.#followers.set(id, wakes.add(wake))
    this.#schedule()
    return {
      [Symbol.dispose]: () => {
        wakes.delete(wake)
        if (wakes.size === 0 && this.#followers.get(id) === wakes) this.#followers.delete(id)
      },
    }
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#followers.size === 0) return
    const { clock, log } = this.#deps
    this.#timer = clock.after(READ_EVERY_MS, () => {
      this.#wakeChanged()
        .catch((error: unknown) =>
          log.warn({ err: error }, 'failed to read the queue; its places are not sent'),
        )
        .finally(() => {
          this.#timer = undefined
          this.#schedule()
        })
    })
  }

  async #wakeChanged(): Promise<void> {
    const before = this.#known
    // Places that callers asked for once are forgotten.
    this.#known = new Map([...before].filter(([id]) => this.#followers.has(id)))
    const queue = await this.#read(READ_EVERY_MS)
    for (const [id, wakes] of this.#followers)
      if (this.#toPlace(id, queue) !== (before.get(id) ?? null)) for (const wake of wakes) wake()
  }
}

interface Queue {
  /** By id: 1 is sent next. */
  readonly positions: ReadonlyMap<string, number>
  readonly toWaitMs: (ahead: number) => number | null
}

async function readQueue({ queueStore, estimates }: Dependencies): Promise<Queue> {
  const ids = await queueStore.listQueued(MAX_PLACES)
  const positions = new Map(ids.map((id, index) => [id, index + 1]))
  return { positions, toWaitMs: await estimates.readWaits() }
}
