/** How a process of the gateway dies: from then on none of its calls is made, and none returns. */
export interface Life {
  readonly isDead: boolean
  die(): void
  /**
   * Dies before or after one of the next calls: at the `steps`-th step, where each call has one before and
   * one after.
   */
  dieAfter(steps: number): void
  /** How many calls are running. */
  readonly running: number
  /** Wraps an object whose methods all return promises. */
  wrap<T extends object>(target: T): T
}

const never = () => new Promise<never>(() => undefined)

export function createLife(): Life {
  let isDead = false
  let left = Infinity
  let running = 0
  /** Resolves if the process lives on. */
  const step = () => {
    left -= 1
    if (left <= 0) isDead = true
    return isDead ? never() : Promise.resolve()
  }
  const call = async (make: () => unknown) => {
    await step()
    running += 1
    try {
      return await make()
    } finally {
      running -= 1
      await step()
    }
  }
  return {
    get isDead() {
      return isDead
    },
    get running() {
      return running
    },
    die: () => void (isDead = true),
    dieAfter: (steps) => void (left = steps),
    wrap: (target) =>
      new Proxy(target, {
        get(_target, name) {
          const value: unknown = Reflect.get(target, name)
          if (typeof value !== 'function') return value
          return (...args: unknown[]) => call((): unknown => Reflect.apply(value, target, args))
        },
      }),
  }
}
