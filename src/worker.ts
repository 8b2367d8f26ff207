import type { Clock, Log } from './tasks/ports.ts'

/**
 * The pause between rounds, unless the alarm rings. A round also finds work that other replicas have made
 * due.
 */
const ROUND_MS = 1_000

interface Worker extends AsyncDisposable {
  /** Starts no more rounds. Resolves when the work of earlier rounds has ended. */
  stop(): Promise<void>
}

/** Starts a worker's next round early. */
export interface Alarm {
  ring(): void
  /** Resolves after `ms` milliseconds, or when it rings; at once if it has rung since the last rest. */
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

interface WorkerOptions {
  readonly name: string
  /** Resolves to the work that it started, which never rejects. */
  readonly round: () => Promise<readonly Promise<void>[]>
  /** Starts a round early. */
  readonly alarm?: Alarm
  readonly clock: Clock
  readonly log: Log
}

/**
 * Runs a round at once, then every second and whenever the alarm rings. The work of a round overlaps with
 * later rounds.
 */
export function startWorker({ name, round, alarm = createAlarm(), clock, log }: WorkerOptions): Worker {
  const running = new Set<Promise<void>>()
  const stopping = new AbortController()
  const isStopping = () => stopping.signal.aborted
  const runRound = async () => {
    try {
      for (const work of await round()) {
        running.add(work)
        void work.then(() => running.delete(work))
      }
    } catch (error) {
      log.warn({ err: error }, `a round of ${name} failed`)
    }
  }
  const run = async () => {
    while (!isStopping()) {
      await runRound()
      if (!isStopping()) await alarm.rest(ROUND_MS, clock)
    }
    await Promise.all(running)
  }
  const ended = run()
  const stop = () => {
    stopping.abort()
    alarm.ring()
    return ended
  }
  return { stop, [Symbol.asyncDispose]: stop }
}
