import type { TaskContext } from './context.ts'
import { isWaiting, wantsQueue, type UpscaleTask } from './task.ts'
import { wait } from './timing.ts'

/** A hint may be lost, and a timer may fire early: a waiting replay re-reads this often, in milliseconds. */
const REREAD_EVERY_MS = 1_000

/**
 * Waits while any process holds the lease on the answer to the task's submit, so that a replay returns the
 * same as the first request, even if both arrive at once. Also ends when the lease lapses (its holder has
 * died), after the longest possible wait, and when the service drains: it then returns the task as it is.
 */
export async function awaitAnswer(context: TaskContext, task: UpscaleTask): Promise<UpscaleTask> {
  const { store, hints, clock, policy, draining } = context
  // A limit on the monotonic clock as well: if the wall clock is set back, the lease lapses too late.
  const giveUpAt = clock.elapsed() + policy.submitTimeoutMs + policy.answerLeaseMs
  const toLeaseMs = (current: UpscaleTask) => {
    const leasedUntil = toLeaseEnd(current)
    return leasedUntil !== null && clock.elapsed() < giveUpAt ? leasedUntil - clock.now() : 0
  }
  if (toLeaseMs(task) <= 0) return task
  let changed = Promise.withResolvers<void>()
  using _listener = await hints.listen(task.id, () => changed.resolve())
  for (;;) {
    const current = await store.read(task.id)
    const leaseMs = current === undefined ? 0 : toLeaseMs(current)
    if (leaseMs <= 0 || draining.aborted) return current ?? task
    await wait(clock, Math.min(REREAD_EVERY_MS, leaseMs), draining, changed.promise)
    changed = Promise.withResolvers()
  }
}

/** When the lease of the sending process ends; between two engines, that of the claim. Null: no lease. */
function toLeaseEnd(task: UpscaleTask): number | null {
  if (isWaiting(task)) return wantsQueue(task) ? null : task.queueDueAt
  return task.status === 'SUBMITTED' ? task.answerBy : null
}
