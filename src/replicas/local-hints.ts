import type { TaskHints } from '../tasks/ports.ts'
import type { UpscaleTask } from '../tasks/task.ts'

type Wake = (state?: UpscaleTask) => void

/** Hints that replicas share. */
export interface SharedHints extends TaskHints, AsyncDisposable {
  /** Whether hints of other replicas arrive. */
  readonly isUp: boolean
}

/** Hints within one process. The hints between replicas extend this class. */
export class LocalHints implements TaskHints {
  readonly #listeners: Listeners = new Map()

  announce(topic: string, state?: UpscaleTask): void {
    wakeAll(this.#listeners.get(topic), state)
  }

  /** Wakes every listener. Call it when hints may have been lost. */
  announceAll(): void {
    for (const listeners of this.#listeners.values()) wakeAll(listeners)
  }

  listen(topic: string, wake: Wake): Promise<Disposable> {
    return Promise.resolve(new Listener(this.#listeners, topic, wake))
  }
}

/**
 * The listeners of each topic. Most topics have one listener, and a set takes more memory than the listener
 * itself.
 */
type Listeners = Map<string, Listener | Set<Listener>>

function wakeAll(listeners: Listener | Set<Listener> | undefined, state?: UpscaleTask): void {
  if (listeners instanceof Listener) listeners.wake(state)
  else for (const listener of listeners ?? []) listener.wake(state)
}

class Listener implements Disposable {
  readonly wake: Wake
  readonly #all: Listeners
  readonly #topic: string

  constructor(all: Listeners, topic: string, wake: Wake) {
    this.wake = wake
    this.#all = all
    this.#topic = topic
    const others = all.get(topic)
    if (others instanceof Set) others.add(this)
    else all.set(topic, others === undefined ? this : new Set([others, this]))
  }

  [Symbol.dispose](): void {
    const listeners = this.#all.get(this.#topic)
    if (listeners instanceof Set) listeners.delete(this)
    if (listeners === this || (listeners instanceof Set && listeners.size === 0))
      this.#all.delete(this.#topic)
  }
}

export function createLocalHints(): LocalHints {
  return new LocalHints()
}
