import type { TaskDependencies } from './ports.ts'
import type { UpscaleTask } from './task.ts'

/** A hint may be lost, and a timer may fire early: a waiting replay re-reads this often, in milliseconds. */
const LOOK_EVERY_MS = 1_000

/**
 * Waits while any process holds the lease on the answer to the task's submit, so that a replay returns the same as the first
 * request, even if both arrive at once. Also ends when the lease lapses (its holder has died), after the longest possible
 * wait, and by `ending`: it then returns the task as it is.
 */
export async function awaitAnswer(
  { store, hints, clock, policy }: Pick<TaskDependencies, 'store' | 'hints' | 'clock' | 'policy'>,
  task: UpscaleTask,
  ending: AbortSignal,
): Promise<UpscaleTask> {
  // A second limit, because the lease is an instant: if the clock is set back, it lapses too late.
  const giveUpAt = clock.elapsed() + policy.submitTimeoutMs + policy.answerLeaseMs
  const isOver = (current: UpscaleTask) => !isAwaited(current, clock.now()) || clock.elapsed() >= giveUpAt
  if (isOver(task)) return task
  let changed = Promise.withResolvers<void>()
  const look = () => changed.resolve()
  using _listener = await hints.listen(task.id, look)
  ending.addEventListener('abort', look)
  try {
    for (;;) {
      const current = await store.read(task.id)
      if (current === undefined || isOver(current) || ending.aborted) return current ?? task
      const leaseMs = (current.answerBy ?? 0) - clock.now()
      using _timer = clock.after(Math.min(LOOK_EVERY_MS, leaseMs), look)
      await changed.promise
      changed = Promise.withResolvers()
    }
  } finally {
    ending.removeEventListener('abort', look)
  }
}

function isAwaited({ status, answerBy }: UpscaleTask, now: number): boolean {
  return status === 'SUBMITTED' && answerBy !== null && answerBy > now
}
