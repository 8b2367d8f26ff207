import type { Clock, Log } from './tasks/ports.ts'

/** How long a worker rests between rounds, unless it is woken: what replicas ask for is seen then, too. */
const ROUND_MS = 1_000

export interface Worker extends AsyncDisposable {
  /** Starts nothing new; resolves when what it had started is over. */
  stop(): Promise<void>
}

/** An alarm, and the way to hear it. */
export interface Alarm {
  ring(): void
  /** Resolves after so many milliseconds, or as soon as it rings; at once when it has rung since the last rest. */
  rest(ms: number, clock: Clock): Promise<void>
}

export function createAlarm(): Alarm {
  let rung = false
  let wake: (() => void) | undefined
  return {
    ring() {
      rung = true
      wake?.()
    },
    async rest(ms, clock) {
      if (!rung) {
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        using _timer = clock.after(ms, resolve)
        await promise
      }
      rung = false
    },
  }
}

/**
 * Goes round at once, then every second and whenever the alarm rings. A round resolves to what it started, which
 * goes on beside the next rounds and never rejects.
 */
export function startWorker(
  name: string,
  round: () => Promise<readonly Promise<void>[]>,
  alarm: Alarm,
  clock: Clock,
  log: Log,
): Worker {
  const running = new Set<Promise<void>>()
  let stopped = false
  const isStopped = () => stopped
  const goRound = async () => {
    for (const work of await round()) {
      running.add(work)
      void work.then(() => running.delete(work))
    }
  }
  const run = async () => {
    while (!isStopped()) {
      await goRound().catch((error: unknown) => log.warn({ err: error }, `a round of ${name} failed`))
      if (!isStopped()) await alarm.rest(ROUND_MS, clock)
    }
    await Promise.all(running)
  }
  const ended = run()
  const stop = () => {
    stopped = true
    alarm.ring()
    return ended
  }
  return { stop, [Symbol.asyncDispose]: stop }
}
