import { applyReport, type Report } from './apply-report.ts'
import type { TaskDependencies } from './ports.ts'
import { isSettled, type UpscaleTask } from './task.ts'

/** The one door through which every change of a task goes. Resolves to the task as it stands afterwards. */
export type Reporter = (taskId: string, report: Report) => Promise<UpscaleTask>

/** Thrown when a report names a task that the store does not have (any more). */
export class UnknownTaskError extends Error {
  override name = 'UnknownTaskError'
}

/**
 * Reads, decides, and writes if nobody else has written since; else decides again on what they wrote. It
 * ends, because each round means that another report has moved the task forward, and a task has few moves.
 */
export function createReporter({
  store,
  log,
  deliveryAlarm,
}: Pick<TaskDependencies, 'store' | 'log' | 'deliveryAlarm'>): Reporter {
  return async (taskId, report) => {
    for (;;) {
      const task = await store.read(taskId)
      if (task === undefined) throw new UnknownTaskError(`No task ${taskId}`)
      const next = applyReport(task, report)
      if (next === undefined) return task
      if (!(await store.update(task, next))) continue
      const { status, version, upstreamTaskId, polls, failure } = next
      log.info({ taskId, status, version, upstreamTaskId, polls, failure, report: report.kind }, 'task moved')
      if (isSettled(next)) deliveryAlarm.ring()
      return next
    }
  }
}
