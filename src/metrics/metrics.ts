import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { Clock, Log } from '../tasks/ports.ts'
import { createClientMetrics } from './client-metrics.ts'
import { createCollection } from './collection.ts'
import { addConnectionGauges, type Connections } from './connection-gauges.ts'
import { createDatabaseGauges, type DatabaseReads } from './database-gauges.ts'
import type { MetricEvents } from './events.ts'
import { createTaskMetrics } from './task-metrics.ts'
import { createUpstreamMetrics } from './upstream-metrics.ts'

/** Metrics in the Prometheus text format. No label holds a name, an id or a secret. */
export interface Metrics extends MetricEvents {
  /** Adds what is read at each request of `/metrics`. */
  observe(sources: { readonly connections: Connections; readonly database: DatabaseReads }): void
  /** Requests that overlap share what is read from the database. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>
}

interface MetricsOptions {
  readonly clock: Clock
  readonly log: Log
  /** Of this service, and of Node.js. */
  readonly versions: { readonly version: string; readonly node: string }
}

export function createMetrics({ clock, log, versions }: MetricsOptions): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  new Gauge({
    name: 'upscale_build_info',
    help: 'Always 1; the labels are the versions of the service and of Node.js',
    labelNames: ['version', 'node'],
    registers: [registry],
  }).set({ ...versions }, 1)
  let collect = () => Promise.resolve()
  return {
    ...createTaskMetrics(registry),
    ...createUpstreamMetrics(registry, clock),
    ...createClientMetrics(registry),
    observe({ connections, database }) {
      addConnectionGauges(registry, connections)
      collect = createCollection(createDatabaseGauges(registry, database, clock), { registry, clock, log })
    },
    async render() {
      await collect()
      return { contentType: registry.contentType, text: await registry.metrics() }
    },
  }
}
