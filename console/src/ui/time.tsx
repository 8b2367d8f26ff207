import { toClock, toDate } from './format.ts'

/** An instant: the time of day, and the date if it is not today. The whole is its title. */
export function Time({ at }: { at: string }) {
  const date = new Date(at)
  const isToday = date.toDateString() === new Date().toDateString()
  return (
    <time class="time" dateTime={at} title={date.toLocaleString()}>
      {isToday ? toClock(date) : `${toDate(date)}, ${toClock(date)}`}
    </time>
  )
}
