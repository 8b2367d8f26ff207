import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { Clock } from '../tasks/ports.ts'
import { CIRCUITS } from '../upstream/breaker.ts'
import type { MetricEvents } from './events.ts'

/** Requests to the upstream, its callbacks, and hints of other replicas. */
export function createUpstreamMetrics(
  registry: Registry,
  clock: Clock,
): Pick<MetricEvents, 'onCallback' | 'onUpstream' | 'onCircuit' | 'onHint'> {
  const registers = [registry]
  const callbacks = createCallbackMetrics(registry, clock)
  const upstream = new Histogram({
    name: 'upscale_upstream_seconds',
    help: 'How long the upstream took, by engine, operation and code (or unreachable, lost)',
    labelNames: ['engine', 'operation', 'code'],
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
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
    help: 'How old hints of other replicas are when they arrive, by both clocks; negative: the clock of the other is ahead',
    buckets: [-5, -1, -0.1, -0.01, 0, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
    registers,
  })
  return {
    onCallback: callbacks,
    onUpstream: (engine, operation, code, ms) => upstream.observe({ engine, operation, code }, ms / 1_000),
    onCircuit(engine, current) {
      for (const state of CIRCUITS) circuits.set({ engine, state }, state === current ? 1 : 0)
    },
    onHint: (lagMs) => hintLag.observe(lagMs / 1_000),
  }
}

function createCallbackMetrics(registry: Registry, clock: Clock): MetricEvents['onCallback'] {
  const registers = [registry]
  const callbacks = new Counter({
    name: 'upscale_callbacks_total',
    help: 'Callbacks of the upstream, by the HTTP status they were answered with',
    labelNames: ['status'],
    registers,
  })
  const seconds = new Histogram({
    name: 'upscale_callback_seconds',
    help: 'How long callbacks of the upstream took, by the HTTP status they were answered with',
    labelNames: ['status'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  })
  const last = new Gauge({
    name: 'upscale_last_callback_timestamp_seconds',
    help: 'When this replica accepted its last callback, as Unix time; before the first one: when it started',
    registers,
  })
  const mark = () => last.set(clock.now() / 1_000)
  mark()
  return (status, ms) => {
    callbacks.inc({ status })
    seconds.observe({ status }, ms / 1_000)
    if (status === 200) mark()
  }
}
