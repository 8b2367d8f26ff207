/** The reason of an AbortController whose operation has ended as intended. */
export const ENDED = 'ended'

/** Waits for a promise; after `ms` it aborts the controller, so that a request which the promise belongs to rejects. */
export async function within<Value>(
  ms: number,
  abort: AbortController,
  promise: Promise<Value>,
): Promise<Value> {
  const timer = setTimeout(() => abort.abort(new Error(`No data for ${ms / 1_000} s`)), ms)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
  }
}
