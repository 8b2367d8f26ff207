/** Ages and amounts as text. */

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** An age with one unit, so that it rarely changes its width: `now`, `12 s`, `3 min`, `2 h`, `5 d`. */
export function toAge(ms: number): string {
  if (ms < SECOND) return 'now'
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`
  return ms < DAY ? `${Math.floor(ms / HOUR)} h` : `${Math.floor(ms / DAY)} d`
}

/** `in 5 s`, `3 min ago`. */
export function toRelative(at: string, nowMs: number): string {
  const ms = Date.parse(at) - nowMs
  if (Math.abs(ms) < SECOND) return 'now'
  return ms > 0 ? `in ${toAge(ms)}` : `${toAge(-ms)} ago`
}

/** An amount of credits: at most two decimals, with separators. */
export function toAmount(amount: number): string {
  return amount.toLocaleString('en', { maximumFractionDigits: 2 })
}
