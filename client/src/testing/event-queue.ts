/** The events of one operation, for its only reader. Unread events are kept. */
export class EventQueue<Event> implements AsyncIterableIterator<Event> {
  readonly #events: Event[] = []
  readonly #readers: PromiseWithResolvers<IteratorResult<Event>>[] = []
  readonly #onEnd: () => void
  #end: { readonly error?: unknown } | undefined

  /** `onEnd` is called once, when the operation completes, fails, or its reader leaves. */
  constructor(onEnd: () => void = () => undefined) {
    this.#onEnd = onEnd
  }

  push(event: Event): void {
    if (this.#end) return
    this.#events.push(event)
    this.#serve()
  }

  /** Completes the operation after the events that have not been read. */
  end(): void {
    this.#finish({})
  }

  /** Fails the operation after the events that have not been read. */
  fail(error: unknown): void {
    this.#finish({ error })
  }

  next(): Promise<IteratorResult<Event>> {
    const { promise, resolve, reject } = withResolvers<IteratorResult<Event>>()
    this.#readers.push({ promise, resolve, reject })
    this.#serve()
    return promise
  }

  /** Does not wait for a pending `next`, as that of graphql-ws. */
  return(): Promise<IteratorResult<Event>> {
    this.#events.length = 0
    this.#finish({})
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #finish(end: { readonly error?: unknown }): void {
    if (this.#end) return
    this.#end = end
    this.#serve()
    this.#onEnd()
  }

  #serve(): void {
    for (let reader = this.#readers[0]; reader; reader = this.#readers[0]) {
      const event = this.#events.shift()
      if (event !== undefined) reader.resolve({ done: false, value: event })
      else if (!this.#end) return
      else if ('error' in this.#end) reader.reject(this.#end.error)
      else reader.resolve({ done: true, value: undefined })
      this.#readers.shift()
      // Only the first reader gets the error.
      if (event === undefined) this.#end = {}
    }
  }
}

interface PromiseWithResolvers<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (reason: unknown) => void
}

/** `Promise.withResolvers`, which not all browsers and test runners have. */
function withResolvers<T>(): PromiseWithResolvers<T> {
  let resolve: PromiseWithResolvers<T>['resolve'] = () => undefined
  let reject: PromiseWithResolvers<T>['reject'] = () => undefined
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}
