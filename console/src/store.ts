import { useEffect, useState } from 'preact/hooks'

/** A value that changes, and that components read with `useStore`. */
export interface Store<Value> {
  get(): Value
  set(value: Value): void
  /** Calls the listener after each change. Returns a function that ends this. */
  subscribe(listener: () => void): () => void
}

export function createStore<Value>(initial: Value): Store<Value> {
  let value = initial
  const listeners = new Set<() => void>()
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return
      value = next
      for (const listener of [...listeners]) listener()
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}

/** The value of a store; the component renders again when it changes. */
export function useStore<Value>(store: Pick<Store<Value>, 'get' | 'subscribe'>): Value {
  const [, setCount] = useState(0)
  const value = store.get()
  useEffect(() => {
    // It may have changed between the rendering and this effect.
    if (!Object.is(store.get(), value)) setCount((count) => count + 1)
    return store.subscribe(() => setCount((count) => count + 1))
  }, [store])
  return value
}
