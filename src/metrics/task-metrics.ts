import { Counter, Histogram, type Registry } from 'prom-client'
import type { MetricEvents } from './events.ts'

/** Submits, settlements, and what follows them: deliveries, and the work on results. */
export function createTaskMetrics(
  registry: Registry,
): Pick<MetricEvents, 'onSubmit' | 'onSettle' | 'onDelivery' | 'onResult'> {
  const registers = [registry]
  const submits = new Histogram({
    name: 'upscale_submit_seconds',
    help: 'How long submits took, by outcome: accepted, queued, replayed, unanswered, error, or the code of the refusal',
    labelNames: ['outcome'],
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  })
  const settlements = new Histogram({
    name: 'upscale_settle_seconds',
    help: 'How long tasks took from creation until they settled, by status and by what brought the result',
    labelNames: ['status', 'source'],
    buckets: [1, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1_800, 3_600],
    registers,
  })
  const deliveries = new Counter({
    name: 'upscale_deliveries_total',
    help: "Attempts to deliver to callers' servers, by outcome",
    labelNames: ['outcome'],
    registers,
  })
  const results = new Counter({
    name: 'upscale_results_total',
    help: 'Attempts to inspect and copy images, by the state of the copy after them',
    labelNames: ['outcome'],
    registers,
  })
  return {
    onSubmit: (outcome, ms) => submits.observe({ outcome }, ms / 1_000),
    onSettle: (status, source, ms) =>
      settlements.observe({ status, source: source.toLowerCase() }, ms / 1_000),
    onDelivery: (outcome) => deliveries.inc({ outcome }),
    onResult: (outcome) => results.inc({ outcome }),
  }
}
