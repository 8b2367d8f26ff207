/**
 * The submits without an answer, kept for a reload: repeated with the same idempotency key, they are paid
 * once.
 */

const KEY = 'upscale-console:pending'

interface Pending<Request> {
  readonly key: string
  readonly request: Request
  readonly startedAt: number
}

interface PendingSubmits<Request> {
  /** Those of before the reload. Each entry was one request. */
  readonly earlier: readonly (readonly Pending<Request>[])[]
  add(submit: readonly Pending<Request>[]): void
  /** The submit whose first entry has this key has its answer. */
  remove(key: string | undefined): void
  clear(): void
}

/** Reads the storage once: this page is the only one that writes it. */
export function createPendingSubmits<Request>(storage: Storage): PendingSubmits<Request> {
  const earlier = read<Request>(storage)
  let all = earlier
  const set = (next: typeof all) => {
    all = next
    if (all.length === 0) storage.removeItem(KEY)
    else storage.setItem(KEY, JSON.stringify(all))
  }
  return {
    earlier,
    add: (submit) => set([...all, submit]),
    remove: (key) => set(all.filter(([first]) => first?.key !== key)),
    clear: () => set([]),
  }
}

/** An earlier version of the console may have written something else. */
function read<Request>(storage: Storage): readonly (readonly Pending<Request>[])[] {
  try {
    const stored: unknown = JSON.parse(storage.getItem(KEY) ?? '[]')
    return Array.isArray(stored) ? (stored as readonly (readonly Pending<Request>[])[]) : []
  } catch {
    return []
  }
}
