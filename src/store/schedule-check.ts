/** How often a process looks for schedules that another process wrote by a clock that was set back since. */
const CHECK_EVERY_MS = 60_000

/**
 * Makes the function that says whether the schedules in the database have to be checked: at first, after the clock of this
 * process was set back, and once a minute.
 */
export function createScheduleCheck(): (now: number) => boolean {
  let checkedAt = Infinity
  return (now) => {
    if (now >= checkedAt && now < checkedAt + CHECK_EVERY_MS) return false
    checkedAt = now
    return true
  }
}
