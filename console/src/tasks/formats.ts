/** Times and amounts as text, in English like the rest of the console. */

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** A duration with at most two units: `850 ms`, `2.4 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`. */
export function toDuration(ms: number): string {
  if (ms < SECOND) return `${Math.max(0, Math.round(ms))} ms`
  if (ms < 10 * SECOND) return `${(Math.floor(ms / 100) / 10).toString()} s`
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`
  if (ms < HOUR) return toPair([ms, MINUTE, 'min'], [SECOND, 's'])
  return ms < DAY ? toPair([ms, HOUR, 'h'], [MINUTE, 'min']) : toPair([ms, DAY, 'd'], [HOUR, 'h'])
}

function toPair([ms, unit, name]: [number, number, string], [part, partName]: [number, string]): string {
  const rest = Math.floor((ms % unit) / part)
  return `${Math.floor(ms / unit)} ${name}${rest > 0 ? ` ${rest} ${partName}` : ''}`
}

/** The age of a row, with one unit, so that it rarely changes its width: `now`, `12 s`, `3 min`, `2 h`, `5 d`. */
export function toAge(ms: number): string {
  if (ms < SECOND) return 'now'
  for (const [unit, name] of [
    [DAY, 'd'],
    [HOUR, 'h'],
    [MINUTE, 'min'],
  ] as const)
    if (ms >= unit) return `${Math.floor(ms / unit)} ${name}`
  return `${Math.floor(ms / SECOND)} s`
}

/** `in 5 s`, `3 min ago`. */
export function toRelative(at: string, nowMs: number): string {
  const ms = Date.parse(at) - nowMs
  if (Math.abs(ms) < SECOND) return 'now'
  return ms > 0 ? `in ${toAge(ms)}` : `${toAge(-ms)} ago`
}

/** An instant in local time, with seconds: `29 Nov 2026, 21:11:35`. */
export function toTime(at: string): string {
  return new Date(at).toLocaleString('en-GB', {
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  })
}

/** The time of day in local time: `21:11:35`. */
export function toClock(at: string): string {
  return new Date(at).toLocaleTimeString('en-GB')
}

/** `812 B`, `34 kB`, `2.1 MB`. */
export function toBytes(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`
  if (bytes < 1_000_000) return `${Math.round(bytes / 1_000)} kB`
  return `${(bytes / 1_000_000).toFixed(1)} MB`
}

/** An amount of credits: at most two decimals, with separators. */
export function toAmount(amount: number): string {
  return amount.toLocaleString('en', { maximumFractionDigits: 2 })
}
