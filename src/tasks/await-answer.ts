import type { TaskDependencies } from './ports.ts'
import type { UpscaleTask } from './task.ts'

/**
 * A task as its own submit will show it: waits while the answer of the upstream may still come, in whichever
 * replica asked for it. So a replay shows what the first answer shows, even when both come at once.
 */
export async function awaitAnswer(
  { store, hints, clock }: Pick<TaskDependencies, 'store' | 'hints' | 'clock'>,
  task: UpscaleTask,
): Promise<UpscaleTask> {
  if (!isAwaited(task, clock.now())) return task
  let changed = Promise.withResolvers<void>()
  using _listener = await hints.listen(task.id, () => changed.resolve())
  for (;;) {
    const current = await store.read(task.id)
    if (current === undefined || !isAwaited(current, clock.now())) return current ?? task
    // Again each second: a timer may fire early, and a hint may be lost.
    using _timer = clock.after(Math.min(1_000, (current.answerBy ?? 0) - clock.now()), () =>
      changed.resolve(),
    )
    await changed.promise
    changed = Promise.withResolvers()
  }
}

function isAwaited({ status, answerBy }: UpscaleTask, now: number): boolean {
  return status === 'SUBMITTED' && answerBy !== null && answerBy > now
}
