import type { TaskContext } from '../context.ts'
import { toFailure } from '../failure.ts'
import type { UpscaleTask } from '../task.ts'

/**
 * Withdraws an owner's task from the queue, if it has not been sent. Undefined: the owner has no such task.
 */
export async function cancelTask(
  { store, clock, report }: TaskContext,
  owner: string,
  id: string,
): Promise<UpscaleTask | undefined> {
  const task = await store.read(id)
  if (task?.owner !== owner) return undefined
  const failure = { ...toFailure('CANCELLED'), correlationId: task.correlationId }
  const note = 'canceled by its owner before it was sent'
  return report(task, { kind: 'withdrawn', at: clock.now(), source: 'OWNER', failure, note })
}
