import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { HttpObserver, TransportLimit } from '../http/http-observer.ts'
import type { OperationLimit } from '../graphql/limits.ts'
import type { TaskLimit, TaskObserver } from '../tasks/observer.ts'
import type { Clock, Log } from '../tasks/ports.ts'
import { createClientMetrics } from './client-metrics.ts'
import { createCollection } from './collection.ts'
import { addConnectionGauges, type Connections } from './connection-gauges.ts'
import { createDatabaseGauges, type DatabaseReads } from './database-gauges.ts'
import { createTaskMetrics } from './task-metrics.ts'
import { createUpstreamMetrics } from './upstream-metrics.ts'

/** Metrics in the Prometheus text format. No label holds a name, an id or a secret. */
export interface Metrics extends TaskObserver, HttpObserver {
  /** A callback of the upstream was answered with this HTTP status, after this many milliseconds. */
  onCallback(status: number, ms: number): void
  /** A request to the upstream ended: with the code of its answer, `unreachable` or `lost`. */
  onUpstream(engine: string, operation: string, outcome: string, ms: number): void
  /** The circuit of an engine is now in this state. */
  onCircuit(engine: string, circuit: string): void
  /** A hint of another replica arrived this many milliseconds after it was sent; negative if its clock is ahead. */
  onHint(lagMs: number): void
  /** A token was refused, or a required one is missing. `reason` is one of a fixed set. */
  onAuthRefusal(reason: string): void
  /** An attempt of a delivery ended. */
  onDelivery(outcome: string): void
  /** An attempt to inspect and copy an image ended. `outcome`: the state of its copy. */
  onResult(outcome: string): void
  /** A limit has refused a request. */
  onRefusal(limit: TaskLimit | TransportLimit | OperationLimit): void
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
