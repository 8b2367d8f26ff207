import { Counter, type Registry } from 'prom-client'
import type { Clock, Log } from '../tasks/ports.ts'

/** Gauges that one read of the database sets. */
export interface Reading {
  /** The gauge by which a failed read is counted. */
  readonly metric: string
  /** Sets all of the gauges, or rejects. */
  read(): Promise<void>
  /** Leaves the gauges out until the next read. */
  clear(): void
}

/**
 * Once the reads of a collection have taken this long, the others are left out: a request of `/metrics` must
 * end in time.
 */
const MAX_COLLECT_MS = 2_000
/** The pause after a failed collection, in multiples of its duration: a failing database gets few queries. */
const PAUSE_FACTOR = 10

interface CollectionOptions {
  readonly registry: Registry
  readonly clock: Clock
  readonly log: Log
}

/**
 * Creates the function that reads all gauges from the database, one after the other, so that it uses one
 * connection. Calls that overlap share a collection. A read that fails is logged and counted; its gauges are
 * left out until it succeeds. Does not reject.
 */
export function createCollection(
  readings: readonly Reading[],
  { registry, clock, log }: CollectionOptions,
): () => Promise<void> {
  const failures = new Counter({
    name: 'upscale_collect_failures_total',
    help: 'Reads of the database for /metrics that failed; their metrics are left out. By the first of these metrics',
    labelNames: ['metric'],
    registers: [registry],
  })
  for (const { metric } of readings) failures.inc({ metric }, 0)
  const collectOne = async ({ metric, read, clear }: Reading, isLate: boolean): Promise<boolean> => {
    try {
      if (isLate) throw new Error('The database takes too long')
      await read()
      return true
    } catch (error) {
      failures.inc({ metric })
      log.warn({ err: error, metric }, 'failed to collect a metric: it is left out of /metrics')
      clear()
      return false
    }
  }
  let running: Promise<void> | undefined
  let pausedUntil = -Infinity
  const collect = async () => {
    const startedAt = clock.elapsed()
    let hasFailed = false
    for (const reading of readings) {
      const isLate = clock.elapsed() - startedAt > MAX_COLLECT_MS
      if (!(await collectOne(reading, isLate))) hasFailed = true
    }
    const now = clock.elapsed()
    pausedUntil = hasFailed ? now + PAUSE_FACTOR * (now - startedAt) : -Infinity
  }
  return () => {
    if (running === undefined && clock.elapsed() < pausedUntil) return Promise.resolve()
    return (running ??= collect().finally(() => (running = undefined)))
  }
}
