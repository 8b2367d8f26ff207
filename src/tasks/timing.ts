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

/** Outcomes that are shared for a shorter time, counted from the end of the call. */
interface Brief<T> {
  readonly ms: number
  includes(result: T): boolean
}

/**
 * Calls with the same key share one call, and its result until `ms` milliseconds after it began. With
 * `brief`, rejections and the results that it includes are shared for its time only.
 */
export function shareCalls<T>(
  clock: Clock,
  ms: number,
  call: (key: string, correlationId: string) => Promise<T>,
  brief?: Brief<T>,
): (key: string, correlationId: string) => Promise<T> {
  // In the order in which the calls began.
  const shared = new Map<string, { readonly result: Promise<T>; expiresAt: number }>()
  return (key, correlationId) => {
    const now = clock.elapsed()
    for (const [each, { expiresAt }] of shared) {
      if (now < expiresAt) break
      shared.delete(each)
    }
    const known = shared.get(key)
    if (known !== undefined && now < known.expiresAt) return known.result
    const result = call(key, correlationId)
    const entry = { result, expiresAt: now + ms }
    shared.delete(key)
    shared.set(key, entry)
    if (brief) {
      const shorten = () => (entry.expiresAt = Math.min(entry.expiresAt, clock.elapsed() + brief.ms))
      void result.then((value) => brief.includes(value) && shorten(), shorten)
    }
    return result
  }
}

/** Returns a function that runs one function at a time, in the order of the calls. */
export function createSequence(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const result = last.then(work)
    last = result.catch(() => undefined)
    return result
  }
}

/** Returns a function that runs the functions of one key one at a time, in the order of the calls. */
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
