import { applyReport, type Report } from './apply-report.ts'
import type { TaskDependencies } from './ports.ts'
import type { UpscaleTask } from './task.ts'

/**
 * The one door through which every change of a task goes. Resolves to the task as it stands afterwards. Whoever has read the
 * task just now gives it instead of its id, and spares a look.
 */
export type Reporter = (task: string | UpscaleTask, report: Report) => Promise<UpscaleTask>

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
  return async (given, report) => {
    const taskId = typeof given === 'string' ? given : given.id
    // What was read before may be old. If it is, the update finds out, and nothing is made of it.
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
      if (outcome === 'owed') deliveryAlarm.ring()
      return next
    }
  }
}
