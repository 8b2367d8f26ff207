import type { TaskDependencies } from './ports.ts'
import type { UpscaleTask } from './task.ts'

/** A hint may be lost, and a timer may fire early: a waiting replay re-reads this often, in milliseconds. */
const LOOK_EVERY_MS = 1_000

/**
 * Waits while another process, or this one, holds the lease on the answer to the task's submit, so that a replay shows
 * what the first answer shows, even when both come at once. Ends as well when the lease lapses (its holder has died),
 * when no answer can come any more, and by `ending`: the task is then shown as it is.
 */
export async function awaitAnswer(
  { store, hints, clock, policy }: Pick<TaskDependencies, 'store' | 'hints' | 'clock' | 'policy'>,
  task: UpscaleTask,
  ending: AbortSignal,
): Promise<UpscaleTask> {
  // The lease is an instant: where the clock is set back meanwhile, it does not lapse in time.
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
