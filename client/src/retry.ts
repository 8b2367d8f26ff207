const FIRST_RETRY_MS = 500
const MAX_RETRY_MS = 30_000

/** Exponential backoff with jitter: each wait is between half of the step and the whole step. */
export function randomRetryMs(retries: number): number {
  return Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** retries) * (0.5 + Math.random() / 2)
}

/** Waits `ms`, or until the signal aborts. Never rejects. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal?.addEventListener('abort', end)
  })
}
