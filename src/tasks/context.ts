import type { Estimates } from './queue/estimates.ts'
import type { TaskDependencies } from './ports.ts'
import type { Reporter } from './transitions.ts'

/** The dependencies of every operation of the core, its reporter, and the signals of shutdown. */
export interface TaskContext extends TaskDependencies {
  readonly report: Reporter
  readonly estimates: Estimates
  /** Aborted when the drain begins: replays stop waiting. */
  readonly draining: AbortSignal
  /** Aborted when the drain ends: polls and retries stop. */
  readonly aborting: AbortSignal
  /** Makes the drain wait for this work. */
  track<T>(work: Promise<T>): Promise<T>
}
