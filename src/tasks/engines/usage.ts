/** The costs of tasks, as engines report them. */

export const DAY_MS = 86_400_000

/** The credits that one engine reported on one day for the tasks of one owner. */
export interface Usage {
  /** In UTC: `2026-01-31`. */
  readonly day: string
  readonly owner: string
  readonly engine: string
  /** The number of tasks for which the engine reported credits, also 0. */
  readonly tasks: number
  /** In the unit of the engine. */
  readonly credits: number
}

/** The day of an instant, in UTC. */
export function toDay(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}
