import type { Clock } from './ports.ts'

/** Resolves after `ms` milliseconds, or earlier when `signal` is aborted or `event` resolves. */
export async function wait(
  clock: Clock,
  ms: number,
  signal: AbortSignal,
  event?: Promise<void>,
): Promise<void> {
  if (signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<void>()
  const wake = () => resolve()
  void event?.then(wake)
  using _timer = clock.after(ms, wake)
  signal.addEventListener('abort', wake)
  await promise
  signal.removeEventListener('abort', wake)
}

/** Calls with the same key share one call, and its result until `ms` milliseconds after it began. */
export function shareCalls<T>(
  clock: Clock,
  ms: number,
  call: (key: string, correlationId: string) => Promise<T>,
): typeof call {
  // In the order in which the calls began.
  const shared = new Map<string, { readonly result: Promise<T>; readonly expiresAt: number }>()
  return (key, correlationId) => {
    const now = clock.elapsed()
    for (const [each, { expiresAt }] of shared) {
      if (now < expiresAt) break
      shared.delete(each)
    }
    const known = shared.get(key)
    if (known !== undefined) return known.result
    const result = call(key, correlationId)
    shared.set(key, { result, expiresAt: now + ms })
    return result
  }
}

/** Returns a function that runs one work at a time, in the order of the calls. */
export function createSequence(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const result = last.then(work)
    last = result.catch(() => undefined)
    return result
  }
}

/** Returns a function that runs the works of one key one at a time, in the order of the calls. */
export function createSequences(): <T>(key: string, work: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>()
  return (key, work) => {
    const result = (last.get(key) ?? Promise.resolve()).then(work)
    const ended: Promise<unknown> = result
      .catch(() => undefined)
      .then(() => last.get(key) === ended && last.delete(key))
    last.set(key, ended)
    return result
  }
}
