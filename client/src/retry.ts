import { isUnanswered, type FollowError } from './errors.ts'
import type { ConnectionState } from './transport.ts'

const FIRST_RETRY_MS = 500
const MAX_RETRY_MS = 30_000

/** Exponential backoff with jitter: each wait is between half of the step and the whole step. */
export function randomRetryMs(retries: number): number {
  return Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** retries) * (0.5 + Math.random() / 2)
}

/** The events of a browser's window. Other environments have none. */
interface Listening {
  addEventListener(type: string, listener: () => void): void
  removeEventListener(type: string, listener: () => void): void
}

/** Waits `ms`, or until the signal aborts, or until the browser is online again. Never rejects. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  const target = globalThis as Partial<Listening>
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      target.removeEventListener?.('online', end)
      resolve()
    }
    const timer = setTimeout(end, signal?.aborted ? 0 : ms)
    signal?.addEventListener('abort', end)
    target.addEventListener?.('online', end)
  })
}

interface Repetition {
  /** It ends the waiting. The attempt must end by itself. */
  readonly signal?: AbortSignal | undefined
  /** Default: no limit. */
  readonly maxRetries?: number
  readonly onConnection?: ((state: ConnectionState) => void) | undefined
}

/**
 * Repeats an attempt that ends without an answer of the gateway, with backoff.
 * @throws FollowError any other error of the attempt, or the last one.
 */
export async function repeat<Value>(
  attempt: () => Promise<Value>,
  { signal, maxRetries, onConnection }: Repetition,
): Promise<Value> {
  for (let retries = 0; ; retries += 1) {
    try {
      return await attempt()
    } catch (failure) {
      const error = failure as FollowError
      if (!isUnanswered(error) || retries === maxRetries) throw error
      onConnection?.('waiting')
      await wait((error.retryAfterMs ?? 0) + randomRetryMs(retries), signal)
    }
  }
}
