/** The wait before each retry; later retries use the last one. */
const RETRY_AFTER_MS = [5_000, 30_000, 120_000, 600_000, 3_600_000]
/** A due time further ahead than this means that the clock was set back. */
export const LATEST_RETRY_MS = 2 * 3_600_000

/**
 * When the next attempt is due. `failedAttempts`: before the one that has just failed. `jitter` is from 0 to
 * 1.
 */
export function toRetryAt(failedAttempts: number, now: number, jitter: number): number {
  const wait = RETRY_AFTER_MS[Math.min(failedAttempts, RETRY_AFTER_MS.length - 1)] ?? 0
  return Math.round(now + wait * (0.9 + 0.2 * jitter))
}
