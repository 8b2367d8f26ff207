import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { MetricEvents } from './events.ts'

/** The operations and streams of clients, and requests that are refused. */
export function createClientMetrics(
  registry: Registry,
): Pick<MetricEvents, 'onOperation' | 'onAuthRefusal' | 'onRefusal' | 'onStreamOpen' | 'onStreamEnd'> {
  const registers = [registry]
  const operations = new Histogram({
    name: 'upscale_operations_seconds',
    help: 'GraphQL operations, by type and code: how long they took, and how long subscriptions ran',
    labelNames: ['type', 'code'],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600],
    registers,
  })
  const authRefusals = new Counter({
    name: 'upscale_auth_refusals_total',
    help: 'Tokens refused, or missing where one is needed, by reason',
    labelNames: ['reason'],
    registers,
  })
  const refusals = new Counter({
    name: 'upscale_refusals_total',
    help: 'Requests, operations and sockets refused by a limit of this service, by limit',
    labelNames: ['limit'],
    registers,
  })
  const open = new Gauge({
    name: 'upscale_streams_open',
    help: 'Subscriptions that run, by transport',
    labelNames: ['transport'],
    registers,
  })
  for (const transport of ['websocket', 'sse', 'router_callback']) open.set({ transport }, 0)
  const ended = new Counter({
    name: 'upscale_streams_ended_total',
    help: 'Subscriptions that have ended, by transport and reason',
    labelNames: ['transport', 'reason'],
    registers,
  })
  return {
    onOperation: (type, code, ms) => operations.observe({ type, code }, ms / 1_000),
    onAuthRefusal: (reason) => authRefusals.inc({ reason }),
    onRefusal: (limit) => refusals.inc({ limit }),
    onStreamOpen: (transport) => open.inc({ transport }),
    onStreamEnd(transport, reason) {
      open.dec({ transport })
      if (reason !== null) ended.inc({ transport, reason })
    },
  }
}
