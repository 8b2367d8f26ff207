import type { TaskDependencies } from '../ports.ts'
import type { TaskTimes } from './queue-ports.ts'
import { shareCalls } from '../timing.ts'

/** How many of the latest tasks are measured. */
const SAMPLES = 500
/** With fewer tasks to measure there is no estimate. */
const MIN_SAMPLES = 20
/** The share of tasks that meet their estimate. */
const QUANTILE = 0.9
/** For how long callers share one measurement. */
const SHARED_FOR_MS = 10_000

/**
 * Estimates per engine from the times of its latest tasks, in milliseconds; null: there are too few tasks to
 * measure.
 */
export interface Estimates {
  /** How long nine in ten tasks take from being sent until they settle. */
  runMs(engine: string): Promise<number | null>
  /** Returns how long nine in ten tasks wait for the engine with this many tasks ahead. */
  readWaits(engine: string): Promise<(ahead: number) => number | null>
}

/** Never rejects: a task is not refused because its duration cannot be estimated. */
export function createEstimates({
  queueStore,
  clock,
  log,
}: Pick<TaskDependencies, 'queueStore' | 'clock' | 'log'>): Estimates {
  const share = shareCalls(clock, SHARED_FOR_MS, async (engine) =>
    measure(
      await queueStore.readTimes(engine, SAMPLES).catch((error: unknown) => {
        log.warn({ err: error }, 'failed to read the times of the latest tasks: nothing is estimated')
        return []
      }),
    ),
  )
  return {
    runMs: async (engine) => (await share(engine, '')).runMs,
    readWaits: async (engine) => (await share(engine, '')).toWaitMs,
  }
}

function measure(times: readonly TaskTimes[]) {
  const waits = Map.groupBy(
    times.flatMap(({ queueAhead, createdAt, sentAt }) =>
      queueAhead === null ? [] : [{ queueAhead, perTurnMs: (sentAt - createdAt) / (queueAhead + 1) }],
    ),
    ({ queueAhead }) => toSizeClass(queueAhead),
  )
  const turns = new Map(
    [...waits].map(([size, each]) => [size, toQuantile(each.map(({ perTurnMs }) => perTurnMs))]),
  )
  return {
    runMs: toQuantile(times.map(({ sentAt, settledAt }) => settledAt - sentAt)),
    toWaitMs(ahead: number): number | null {
      const perTurnMs = turns.get(toSizeClass(ahead)) ?? null
      return perTurnMs === null ? null : Math.round(perTurnMs * (ahead + 1))
    },
  }
}

/** Short and long queues have separate estimates, because a rate limit lets a short queue through at once. */
function toSizeClass(ahead: number): number {
  return Math.floor(Math.log2(ahead + 1))
}

/** The smallest value that is not exceeded in QUANTILE of the samples; null: there are too few samples. */
function toQuantile(samples: readonly number[]): number | null {
  if (samples.length < MIN_SAMPLES) return null
  const sorted = samples.toSorted((one, other) => one - other)
  return sorted[Math.ceil(QUANTILE * sorted.length) - 1] ?? null
}
