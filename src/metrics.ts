import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Log } from './tasks/ports.ts'
import { CIRCUITS } from './upstream/breaker.ts'
import { TASK_STATUSES, type TaskStatus } from './tasks/task.ts'

/** Metrics in the Prometheus text format. No label holds a name, an id or a secret. */
export interface Metrics {
  /** A callback of the upstream was answered with this HTTP status. */
  onCallback(status: number): void
  /** A request to the upstream ended: with the code of its answer, `unreachable` or `lost`. */
  onUpstream(engine: string, operation: string, outcome: string, ms: number): void
  /** The circuit of an engine is now in this state. */
  onCircuit(engine: string, circuit: string): void
  /** A hint of another replica arrived this many milliseconds after it was sent. */
  onHint(lagMs: number): void
  /** A GraphQL operation of this type has ended with this code (`OK`, or that of its first error). */
  onOperation(type: string, code: string, ms: number): void
  /** A token was refused, or a required one is missing. `reason` is one of a fixed set. */
  onAuthRefusal(reason: string): void
  /** An attempt of a delivery ended. */
  onDelivery(outcome: string): void
  /** An attempt to inspect and copy an image ended. `outcome`: the state of its copy. */
  onResult(outcome: string): void
  /** Adds the gauges. */
  observe(gauges: Gauges): void
  render(): Promise<{ readonly contentType: string; readonly text: string }>
}

/** Values for the gauges, read at each request of `/metrics`. */
interface Gauges {
  sockets(): { readonly open: number; readonly operations: number }
  /** Subscriptions that run on HTTP. */
  streams(): number
  tasks(): Promise<Partial<Record<TaskStatus, number>>>
  /** The number of tasks that wait in the queue. */
  queued(): Promise<number>
  /** Connections to the database; undefined where there is no pool. */
  pool(): Readonly<Record<'total' | 'idle' | 'waiting', number>> | undefined
}

export function createMetrics(log: Log): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const counter = (name: string, help: string, label: string) =>
    new Counter({ name, help, labelNames: [label], registers })
  const callbacks = counter(
    'upscale_callbacks_total',
    'Callbacks of the upstream, by the HTTP status they were answered with',
    'status',
  )
  const deliveries = counter(
    'upscale_deliveries_total',
    "Attempts to deliver to callers' servers, by outcome",
    'outcome',
  )
  const results = counter(
    'upscale_results_total',
    'Attempts to inspect and copy images, by the state of the copy after them',
    'outcome',
  )
  const authRefusals = counter(
    'upscale_auth_refusals_total',
    'Tokens refused, or missing where one is needed, by reason',
    'reason',
  )
  const upstream = new Histogram({
    name: 'upscale_upstream_seconds',
    help: 'How long the upstream took, by engine, operation and code (or unreachable, lost)',
    labelNames: ['engine', 'operation', 'code'],
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  })
  const operations = new Histogram({
    name: 'upscale_operations_seconds',
    help: 'GraphQL operations, by type and code: how long they took, and how long subscriptions ran',
    labelNames: ['type', 'code'],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600],
    registers,
  })
  const circuits = new Gauge({
    name: 'upscale_engine_circuit',
    help: 'The circuit breaker of each engine: 1 for its state, 0 for the others',
    labelNames: ['engine', 'state'],
    registers,
  })
  const hintLag = new Histogram({
    name: 'upscale_hint_lag_seconds',
    help: 'How old hints of other replicas are when they arrive, by both clocks',
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
    registers,
  })
  return {
    onCallback: (status) => callbacks.inc({ status }),
    onUpstream: (engine, operation, code, ms) => upstream.observe({ engine, operation, code }, ms / 1_000),
    onCircuit(engine, current) {
      for (const state of CIRCUITS) circuits.set({ engine, state }, state === current ? 1 : 0)
    },
    onHint: (lagMs) => hintLag.observe(Math.max(0, lagMs) / 1_000),
    onOperation: (type, code, ms) => operations.observe({ type, code }, ms / 1_000),
    onAuthRefusal: (reason) => authRefusals.inc({ reason }),
    onResult: (outcome) => results.inc({ outcome }),
    onDelivery: (outcome) => deliveries.inc({ outcome }),
    observe: (gauges) => addGauges(registry, gauges, log),
    render: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  }
}

function addGauges(registry: Registry, { sockets, streams, tasks, queued, pool }: Gauges, log: Log): void {
  const add = (
    name: string,
    help: string,
    collect: (gauge: Gauge) => void | Promise<void>,
    labelNames: string[] = [],
  ) => {
    const collectThis = function (this: Gauge) {
      return collect(this)
    }
    registry.registerMetric(new Gauge({ name, help, labelNames, registers: [], collect: collectThis }))
  }
  // A failing database must not remove the other metrics.
  const leaveOut = (name: string) => (error: unknown) => {
    log.warn({ err: error }, `failed to count tasks: ${name} is left out of /metrics`)
    return undefined
  }
  add('upscale_sockets_open', 'Open WebSockets', (gauge) => gauge.set(sockets().open))
  add('upscale_subscriptions_open', 'Operations running on WebSockets', (gauge) =>
    gauge.set(sockets().operations),
  )
  add(
    'upscale_http_streams_open',
    'Subscriptions running on HTTP (server-sent events, router callbacks)',
    (gauge) => gauge.set(streams()),
  )
  add(
    'upscale_tasks',
    'Tasks in the database, by status',
    async (gauge) => {
      gauge.reset()
      const counts = await tasks().catch(leaveOut('upscale_tasks'))
      if (counts !== undefined) for (const status of TASK_STATUSES) gauge.set({ status }, counts[status] ?? 0)
    },
    ['status'],
  )
  add('upscale_queue_tasks', 'Tasks that wait in the queue to be sent', async (gauge) => {
    // Without labels, a gauge that is reset has the value 0.
    gauge.remove()
    const count = await queued().catch(leaveOut('upscale_queue_tasks'))
    if (count !== undefined) gauge.set(count)
  })
  add(
    'upscale_database_connections',
    'Connections to the database, and requests that wait for one',
    (gauge) => {
      for (const [state, count] of Object.entries(pool() ?? {})) gauge.set({ state }, count)
    },
    ['state'],
  )
}
