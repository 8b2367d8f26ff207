/** How often a process checks for schedules that another process wrote before its clock was set back. */
const CHECK_EVERY_MS = 60_000

/**
 * Makes a function that returns whether to check the schedules in the database: at the first call, after the clock of this
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
