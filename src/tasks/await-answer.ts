import type { TaskDependencies } from './ports.ts'
import type { UpscaleTask } from './task.ts'

/** A hint may be lost, and a timer may fire early: whoever waits looks again this often, in milliseconds. */
const LOOK_EVERY_MS = 1_000

/**
 * A task as its own submit will show it: waits while the answer of the upstream may still come, in whichever
 * replica asked for it. So a replay shows what the first answer shows, even when both come at once. `ending`
 * ends the wait: the task is then shown as it stands.
 */
export async function awaitAnswer(
  { store, hints, clock, policy }: Pick<TaskDependencies, 'store' | 'hints' | 'clock' | 'policy'>,
  task: UpscaleTask,
  ending: AbortSignal,
): Promise<UpscaleTask> {
  if (!isAwaited(task, clock.now())) return task
  let changed = Promise.withResolvers<void>()
  const look = () => changed.resolve()
  using _listener = await hints.listen(task.id, look)
  ending.addEventListener('abort', look)
  // `answerBy` is an instant: if the clock is set back meanwhile, it does not come in time.
  const giveUpAt = clock.elapsed() + policy.submitTimeoutMs
  try {
    for (;;) {
      const current = await store.read(task.id)
      const leftMs = giveUpAt - clock.elapsed()
      if (current === undefined || !isAwaited(current, clock.now()) || leftMs <= 0 || ending.aborted)
        return current ?? task
      using _timer = clock.after(Math.min(LOOK_EVERY_MS, leftMs, (current.answerBy ?? 0) - clock.now()), look)
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
