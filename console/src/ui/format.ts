/** `3.2 s`, `1 min`, `1 min 5 s`, `2 h 5 min`. */
export function toDuration(ms: number): string {
  const seconds = Math.max(0, ms) / 1_000
  // 59.96 would be `60.0 s`.
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`
  const whole = Math.max(60, Math.floor(seconds))
  const minutes = Math.floor(whole / 60)
  if (minutes < 60) return toParts([minutes, 'min'], [whole % 60, 's'])
  return toParts([Math.floor(minutes / 60), 'h'], [minutes % 60, 'min'])
}

/** The parts that are not zero. */
function toParts(...parts: readonly (readonly [amount: number, unit: string])[]): string {
  return parts
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(' ')
}

/** `812 B`, `51.2 kB`, `1.2 MB`. */
export function toBytes(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`
  return bytes < 1_000_000 ? `${(bytes / 1_000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`
}

/** `14:03:59` */
export function toClock(date: Date): string {
  return date.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
}

/** `3 Dec`, with the year if it is not this one. */
export function toDate(date: Date): string {
  const year = date.getFullYear() === new Date().getFullYear() ? {} : ({ year: 'numeric' } as const)
  return date.toLocaleDateString(undefined, { day: 'numeric', month: 'short', ...year })
}
