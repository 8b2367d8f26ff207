import type { TaskDependencies } from '../ports.ts'
import type { UpscaleTask } from '../task.ts'
import type { Estimates } from './estimates.ts'
import { shareCalls } from '../timing.ts'

/** The place of a waiting task. */
export interface QueuePlace {
  /** Among the tasks that wait for the same engine; 1: it is sent next. */
  readonly position: number
  /**
   * By when nine in ten tasks are sent from a similar position, in Unix milliseconds; null: not estimated.
   */
  readonly estimatedStartAt: number | null
}

/** The shortest interval in which the queue is read and followers are woken. */
const READ_EVERY_MS = 1_000
/** Changes of positions beyond this one are not followed. */
const MAX_PLACES = 10_000

type Dependencies = Pick<TaskDependencies, 'queueStore' | 'clock' | 'log'> & { readonly estimates: Estimates }

/**
 * The places of waiting tasks. Reads the queue at most once a second, and only while a caller needs a place.
 */
export class QueuePlaces {
  readonly #deps: Dependencies
  readonly #readQueue: () => Promise<Queue>
  readonly #followers = new Map<string, Follower>()
  /** The latest places that callers got. A place keeps its estimate until its position changes. */
  #known = new Map<string, QueuePlace>()
  #timer: Disposable | undefined

  constructor(deps: Dependencies) {
    this.#deps = deps
    const share = shareCalls(deps.clock, READ_EVERY_MS, async () => {
      const queue = await readQueue(deps)
      this.#known = new Map([...this.#known].filter(([id]) => queue.positions.has(id)))
      return queue
    })
    this.#readQueue = () => share('queue', '')
  }

  /** The place of a task, at most a second old; null: it does not wait. */
  async find({ id, engine }: Pick<UpscaleTask, 'id' | 'engine'>): Promise<QueuePlace | null> {
    const queue = await this.#readQueue()
    // A task that was queued after this read is not in it.
    const position = queue.positions.get(id) ?? (await this.#deps.queueStore.readPosition(id))
    const waitMs = position === null ? null : (queue.waits.get(engine)?.(position - 1) ?? null)
    return this.#toPlace(id, position, waitMs)
  }

  #toPlace(id: string, position: number | null, waitMs: number | null): QueuePlace | null {
    const before = this.#known.get(id)
    if (position === null) {
      this.#known.delete(id)
      return null
    }
    if (position === before?.position) return withoutPast(before, this.#deps.clock.now())
    const place = { position, estimatedStartAt: waitMs === null ? null : this.#deps.clock.now() + waitMs }
    this.#known.set(id, place)
    return place
  }

  /** Calls `changed`, at most once a second, when the position of a task has changed, until disposed. */
  follow(id: string, changed: () => void): Disposable {
    // Wrapped, so that one function that follows twice counts twice.
    const wake = () => changed()
    const follower: Follower = this.#followers.get(id) ?? { wakes: new Set(), position: undefined }
    follower.wakes.add(wake)
    this.#followers.set(id, follower)
    this.#schedule()
    return {
      [Symbol.dispose]: () => {
        follower.wakes.delete(wake)
        if (follower.wakes.size === 0 && this.#followers.get(id) === follower) this.#followers.delete(id)
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
    const { positions } = await this.#readQueue()
    for (const [id, follower] of this.#followers) {
      const position = positions.get(id) ?? null
      // Before the first change: the position that the caller got when it began to follow.
      const before =
        follower.position === undefined ? (this.#known.get(id)?.position ?? null) : follower.position
      follower.position = position
      if (position !== before) for (const wake of follower.wakes) wake()
    }
  }
}

/** A task that is still waiting at its estimated start has no estimate any more. */
function withoutPast(place: QueuePlace, now: number): QueuePlace {
  const { position, estimatedStartAt: at } = place
  return at !== null && at < now ? { position, estimatedStartAt: null } : place
}

/** The callers that are woken when the position of a task changes. */
interface Follower {
  readonly wakes: Set<() => void>
  /** The position when they were woken last; null: none; undefined: they were not woken yet. */
  position: number | null | undefined
}

interface Queue {
  /** By id, among the tasks of the same engine: 1 is sent next. */
  readonly positions: ReadonlyMap<string, number>
  /** By engine: how long nine in ten tasks wait with this many tasks ahead. */
  readonly waits: ReadonlyMap<string, (ahead: number) => number | null>
}

async function readQueue({ queueStore, estimates }: Dependencies): Promise<Queue> {
  const queued = Map.groupBy(await queueStore.listQueued(MAX_PLACES), ({ engine }) => engine)
  const positions = new Map(
    [...queued.values()].flatMap((lane) => lane.map(({ id }, index) => [id, index + 1])),
  )
  const readWaits = async (engine: string) => [engine, await estimates.readWaits(engine)] as const
  return { positions, waits: new Map(await Promise.all([...queued.keys()].map(readWaits))) }
}
