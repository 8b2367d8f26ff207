/** When the deliveries of a task are read again: they change without a new version of the task. */
import type { Delivery, OpenTask } from './task-documents.ts'

const MIN_POLL_MS = 1_000
const MAX_POLL_MS = 15_000

export function isSettled({ status }: Pick<OpenTask, 'status'>): boolean {
  return status === 'SUCCEEDED' || status === 'FAILED'
}

/** How long to wait before the next poll, in milliseconds; null: nothing is going to change. */
export function toPollMs(task: Pick<OpenTask, 'status' | 'callbacks'>, nowMs: number): number | null {
  const pending = task.callbacks.filter(({ state }) => state === 'PENDING')
  if (pending.length === 0 || !isSettled(task)) return null
  const dueMs = pending
    .map(({ nextAttemptAt }) => nextAttemptAt)
    .filter((at) => at !== null)
    .map((at) => Date.parse(at) - nowMs)
  const soonest = dueMs.length === 0 ? MIN_POLL_MS : Math.min(...dueMs)
  return Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, soonest + MIN_POLL_MS))
}

/** What a delivery is doing, in a few words. */
export function toDeliveryText({ state, attempts, nextAttemptAt }: Delivery): string {
  if (state === 'DELIVERED') return 'Delivered'
  if (state === 'GAVE_UP') return 'Given up'
  if (attempts > 0) return 'Retrying'
  return nextAttemptAt === null ? 'Waits for the result' : 'Sending'
}
