/** What tasks cost. */

export const DAY_MS = 86_400_000

/** The credits that one owner's tasks at one engine have cost on one day. */
export interface Usage {
  /** In UTC: `2026-01-31`. */
  readonly day: string
  readonly owner: string
  readonly engine: string
  /** How many tasks have cost credits. */
  readonly tasks: number
  /** In the unit of the engine. */
  readonly credits: number
}

/** The day of an instant, in UTC. */
export function toDay(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}
