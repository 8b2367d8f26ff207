import type { TaskContext } from '../context.ts'
import type { SubmitAnswer } from '../engines/engine-ports.ts'
import type { UpscaleTask } from '../task.ts'
import { isOutage, toDelayMs } from './refusals.ts'

/** How long a lane pauses after answers that prove nothing. */
const UNKNOWN_PAUSE_MS = 30_000

export type Health = ReturnType<typeof createHealth>

/**
 * Whether an engine takes tasks. After temporary refusals or unknown answers for two tasks in a row its lane
 * pauses, and then sends one task at a time until one gets another answer. One task alone cannot pause the
 * lane.
 */
export function createHealth({ clock, log }: TaskContext, engine: string) {
  let failedId: string | undefined
  let isDoubtful = false
  let pausedUntil = -Infinity
  return {
    get isDoubtful() {
      return isDoubtful
    },
    get isPaused() {
      return clock.elapsed() < pausedUntil
    },
    note(task: UpscaleTask, answer: SubmitAnswer) {
      const pauseMs = toPauseMs(answer)
      if (pauseMs === null) {
        failedId = undefined
        isDoubtful = false
        return
      }
      if (failedId !== undefined && failedId !== task.id) {
        isDoubtful = true
        pausedUntil = clock.elapsed() + pauseMs
        log.warn({ engine, answer, pauseMs }, 'the engine takes no tasks: its lane of the queue pauses')
      }
      failedId = task.id
    },
  }
}

/** Null: the answer says nothing about other tasks. */
function toPauseMs(answer: SubmitAnswer): number | null {
  if (answer.kind === 'unknown') return UNKNOWN_PAUSE_MS
  return isOutage(answer) ? toDelayMs(answer.failure, 1) : null
}
