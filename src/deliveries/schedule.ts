import type { Attempt, Delivery, DeliveryAnswer } from './outbox.ts'

/** The wait after each failed attempt; later attempts use the last one. */
const RETRY_AFTER_MS = [5_000, 30_000, 120_000, 600_000, 3_600_000, 21_600_000]
/** The bounds of a wait that a receiver requests by `Retry-After`. */
const MIN_WAIT_MS = 1_000
const MAX_WAIT_MS = 86_400_000

/**
 * Turns the answer into the delivery's next state. A wait that the receiver requests does not use up a step
 * of the schedule. A delivery is given up after a 410, or at the end of `deliverForMs`, when the last attempt
 * is made. `jitter` is from 0 to 1.
 */
export function nextAttempt(
  delivery: Delivery,
  answer: DeliveryAnswer,
  { now, deliverForMs, jitter }: { now: number; deliverForMs: number; jitter: number },
): Attempt {
  const { failures, dueSince } = delivery
  const status = answer.kind === 'answered' ? answer.status : null
  const facts = { attempts: delivery.attempts + 1, failures, lastStatusCode: status }
  if (isSuccess(status)) return { ...facts, state: 'DELIVERED', dueAt: null }
  const leftMs = (dueSince ?? now) + deliverForMs - now
  // 410 Gone: the receiver refuses further attempts.
  if (status === 410 || leftMs <= 0) return { ...facts, state: 'GAVE_UP', dueAt: null }
  const requestedMs =
    answer.kind === 'answered' && (status === 429 || status === 503) ? answer.retryAfterMs : null
  if (requestedMs !== null) {
    const wait = Math.min(Math.max(requestedMs, MIN_WAIT_MS), MAX_WAIT_MS)
    return { ...facts, state: 'PENDING', dueAt: now + wait }
  }
  const scheduled = RETRY_AFTER_MS[Math.min(failures, RETRY_AFTER_MS.length - 1)] ?? MAX_WAIT_MS
  const wait = Math.max(Math.min(scheduled * (0.9 + jitter * 0.2), leftMs), MIN_WAIT_MS)
  return { ...facts, failures: failures + 1, state: 'PENDING', dueAt: Math.round(now + wait) }
}

export function isSuccess(status: number | null): boolean {
  return status !== null && status >= 200 && status < 300
}
