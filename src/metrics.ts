import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Log } from './tasks/ports.ts'
import { TASK_STATUSES, type TaskStatus } from './tasks/task.ts'

/** What is counted as it happens. No label holds a name, an id or a secret. */
export interface Metrics {
  /** A callback of the upstream was answered with this HTTP status. */
  onCallback(status: number): void
  /** The upstream was asked, and this is how it went: its code, or what there was instead of an answer. */
  onUpstream(operation: UpstreamOperation, outcome: string, ms: number): void
  /** A hint of another replica came so late. */
  onHint(lagMs: number): void
  /** A token was refused, or a required one is missing. `reason` is one of a fixed set. */
  onAuthRefusal(reason: string): void
  /** An attempt to call back a caller's server ended. */
  onDelivery(outcome: string): void
  /** All of it in the Prometheus text format. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>
}

export type UpstreamOperation = 'submit' | 'lookup' | 'credits'

/** Measured when `/metrics` is requested. */
export interface Gauges {
  sockets(): { readonly open: number; readonly operations: number }
  /** Subscriptions that run on HTTP. */
  streams(): number
  tasks(): Promise<Partial<Record<TaskStatus, number>>>
  /** Connections to the database; undefined where there is no pool. */
  pool(): { readonly total: number; readonly idle: number; readonly waiting: number } | undefined
}

export function createMetrics(gauges: () => Gauges, log: Log): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const callbacks = new Counter({
    name: 'upscale_callbacks_total',
    help: 'Callbacks of the upstream, by the HTTP status they were answered with',
    labelNames: ['status'],
    registers,
  })
  const upstream = new Histogram({
    name: 'upscale_upstream_seconds',
    help: 'How long the upstream took, by operation and code (or unreachable, lost)',
    labelNames: ['operation', 'code'],
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  })
  const hintLag = new Histogram({
    name: 'upscale_hint_lag_seconds',
    help: 'How old hints of other replicas are when they come, by both clocks',
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
    registers,
  })
  const deliveries = new Counter({
    name: 'upscale_deliveries_total',
    help: "Attempts to call back callers' servers, by outcome",
    labelNames: ['outcome'],
    registers,
  })
  const authRefusals = new Counter({
    name: 'upscale_auth_refusals_total',
    help: 'Tokens refused, or missing where one is needed, by reason',
    labelNames: ['reason'],
    registers,
  })
  const gauge = (
    name: string,
    help: string,
    collect: (gauge: Gauge) => void | Promise<void>,
    labels: string[] = [],
  ) =>
    new Gauge({
      name,
      help,
      labelNames: labels,
      registers,
      collect() {
        return collect(this)
      },
    })
  gauge('upscale_sockets_open', 'Open WebSockets', (each) => each.set(gauges().sockets().open))
  gauge('upscale_subscriptions_open', 'Operations running on WebSockets', (each) =>
    each.set(gauges().sockets().operations),
  )
  gauge(
    'upscale_http_streams_open',
    'Subscriptions running on HTTP (server-sent events, router callbacks)',
    (each) => each.set(gauges().streams()),
  )
  gauge(
    'upscale_tasks',
    'Tasks in the database, by status',
    async (each) => {
      each.reset()
      // A database that fails must not take the other metrics with it.
      const counts = await gauges()
        .tasks()
        .catch((error: unknown) => {
          log.warn({ err: error }, 'failed to count tasks: upscale_tasks is left out of /metrics')
          return undefined
        })
      if (counts === undefined) return
      for (const status of TASK_STATUSES) each.set({ status }, counts[status] ?? 0)
    },
    ['status'],
  )
  gauge(
    'upscale_database_connections',
    'Connections to the database, and requests that wait for one',
    (each) => {
      for (const [state, count] of Object.entries(gauges().pool() ?? {})) each.set({ state }, count)
    },
    ['state'],
  )
  return {
    onCallback: (status) => callbacks.inc({ status }),
    onUpstream: (operation, code, ms) => upstream.observe({ operation, code }, ms / 1_000),
    onHint: (lagMs) => hintLag.observe(Math.max(0, lagMs) / 1_000),
    onAuthRefusal: (reason) => authRefusals.inc({ reason }),
    onDelivery: (outcome) => deliveries.inc({ outcome }),
    render: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  }
}
