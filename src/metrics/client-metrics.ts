import { Counter, Gauge, type Registry } from 'prom-client'
import type { MetricEvents } from './events.ts'

/** The streams of clients, and requests that are refused. */
export function createClientMetrics(
  registry: Registry,
): Pick<MetricEvents, 'onAuthRefusal' | 'onRefusal' | 'onStreamOpen' | 'onStreamEnd'> {
  const registers = [registry]
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
    onAuthRefusal: (reason) => authRefusals.inc({ reason }),
    onRefusal: (limit) => refusals.inc({ limit }),
    onStreamOpen: (transport) => open.inc({ transport }),
    onStreamEnd(transport, reason) {
      open.dec({ transport })
      if (reason !== null) ended.inc({ transport, reason })
    },
  }
}
