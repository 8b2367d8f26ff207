import { applyReport, type Report } from './transitions.ts'
import type { TaskDependencies } from './ports.ts'
import type { UpscaleTask } from './task.ts'

/**
 * The only way to change a task. Resolves to the task as it is afterwards. Pass the task instead of its id if it has just
 * been read: that saves a read.
 */
export type Reporter = (task: string | UpscaleTask, report: Report) => Promise<UpscaleTask>

/** Thrown when a report names a task that the store does not have (any more). */
export class UnknownTaskError extends Error {
  override name = 'UnknownTaskError'
}

/**
 * Reads, decides, and writes if the task has not changed since; otherwise retries on the new state. The loop ends, because
 * each round means that another report has changed the task, and a task has few changes.
 */
export function createReporter({
  store,
  log,
  deliveries,
}: Pick<TaskDependencies, 'store' | 'log' | 'deliveries'>): Reporter {
  return async (given, report) => {
    const taskId = typeof given === 'string' ? given : given.id
    // The given task may be stale. Then the update is beaten, and the next round reads again.
    let known = typeof given === 'string' ? undefined : given
    for (;;) {
      const task = known ?? (await store.read(taskId))
      if (task === undefined) throw new UnknownTaskError(`No task ${taskId}`)
      const next = applyReport(task, report)
      if (next === undefined && known === undefined) return task
      known = undefined
      const outcome = next && (await store.update(task, next))
      if (next === undefined || outcome === 'beaten') continue
      const { status, version, upstreamTaskId, polls, failure } = next
      log.info({ taskId, status, version, upstreamTaskId, polls, failure, report: report.kind }, 'task moved')
      if (outcome === 'owed') deliveries.wake()
      return next
    }
  }
}
