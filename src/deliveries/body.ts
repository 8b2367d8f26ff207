import { CATALOGUE, toProblem } from '../tasks/failure.ts'
import type { UpscaleTask } from '../tasks/task.ts'

/**
 * The body of a delivery: the upstream's own shape, so that a receiver written for the upstream works, plus
 * our task. `toImageUrl` returns the URL of an image for clients.
 */
export function toDeliveryBody(
  task: UpscaleTask,
  toImageUrl: (task: UpscaleTask, position: number) => string,
): object {
  const { id, version, status, images, failure } = task
  // A late result of a failed task is not shown before its inspection.
  const shown = status === 'SUCCEEDED' ? (images ?? []) : []
  return {
    code: failure === null ? 200 : toFailureCode(failure.upstreamCode),
    msg: failure === null ? 'success' : CATALOGUE[failure.code].description,
    data: {
      taskId: id,
      resultUrls: shown.map((_, position) => toImageUrl(task, position)),
      task: { id, version, status, problem: failure && toProblem(failure, id) },
    },
  }
}

/** A failure without an upstream code is sent as 500. So is 200, which receivers would read as success. */
function toFailureCode(upstreamCode: number | null): number {
  return upstreamCode === null || upstreamCode === 200 ? 500 : upstreamCode
}
