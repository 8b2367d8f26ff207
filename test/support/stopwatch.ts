const TICK_MS = 10
/** What the system needs to run a timer of a process that has nothing else to do is far less. */
const STALL_MS = 50

/**
 * Starts measuring a duration; call the result to read it, in milliseconds. Leaves out the times in which
 * this process did not run, so that a busy machine does not make the answers of another process look late.
 */
export function startStopwatch(): Disposable & (() => number) {
  const startedAt = performance.now()
  let [tickedAt, stalledMs] = [startedAt, 0]
  const tick = () => {
    const now = performance.now()
    const gapMs = now - tickedAt
    if (gapMs > STALL_MS) stalledMs += gapMs - TICK_MS
    tickedAt = now
  }
  const ticking = setInterval(tick, TICK_MS)
  const read = () => {
    tick()
    return tickedAt - startedAt - stalledMs
  }
  return Object.assign(read, { [Symbol.dispose]: () => clearInterval(ticking) })
}
