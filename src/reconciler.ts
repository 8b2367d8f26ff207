import type { Alarm, Clock, Log } from './tasks/ports.ts'
import type { Tasks } from './tasks/tasks.ts'

/** How long the reconciler rests between rounds, unless it is woken: what replicas ask for is seen then, too. */
const ROUND_MS = 1_000

export interface Reconciler extends AsyncDisposable {
  /** Starts nothing new; resolves when what it had started is over. */
  stop(): Promise<void>
}

/** An alarm, and the way to hear it. */
export interface RingingAlarm extends Alarm {
  /** Resolves at the next ring. */
  rung(): Promise<void>
}

export function createAlarm(): RingingAlarm {
  let next = Promise.withResolvers<void>()
  return {
    rung: () => next.promise,
    ring() {
      next.resolve()
      next = Promise.withResolvers()
    },
  }
}

/** Looks after tasks that nobody calls back about: at once, then every second and whenever the alarm rings. */
export function startReconciler(
  tasks: Pick<Tasks, 'reconcile'>,
  alarm: RingingAlarm,
  clock: Clock,
  log: Log,
): Reconciler {
  const polls = new Set<Promise<void>>()
  let stopped = false
  const isStopped = () => stopped
  const round = async () => {
    for (const poll of await tasks.reconcile()) {
      polls.add(poll)
      void poll.then(() => polls.delete(poll))
    }
  }
  const run = async () => {
    while (!isStopped()) {
      // Heard even when it rings during the round.
      const rung = alarm.rung()
      await round().catch((error: unknown) => log.warn({ err: error }, 'a round of reconciling failed'))
      if (isStopped()) break
      const { promise: rested, resolve } = Promise.withResolvers<void>()
      using _timer = clock.after(ROUND_MS, resolve)
      await Promise.race([rested, rung])
    }
    await Promise.all(polls)
  }
  const ended = run()
  const stop = () => {
    stopped = true
    alarm.ring()
    return ended
  }
  return { stop, [Symbol.asyncDispose]: stop }
}
