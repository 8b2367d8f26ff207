import { SANDBOX_PREFIX } from './embedded-sandbox.ts'
import type { Metrics } from './metrics/metrics.ts'
import type { Connector } from './net/outbound.ts'
import type { Servers } from './servers.ts'
import type { Settings } from './settings.ts'
import type { Engines } from './tasks/engines/engine-ports.ts'
import type { Clock, Log } from './tasks/ports.ts'
import type { Tracing } from './tasks/tracing.ts'
import { ADAPTERS } from './upstream/adapters.ts'
import { openEngines } from './upstream/engines.ts'
import { openHttpEngine } from './upstream/http-engine.ts'

interface EngineParts {
  readonly settings: Settings
  readonly servers: Servers
  readonly metrics: Metrics
  /** The key of the embedded sandbox. */
  readonly sandboxKey: string
  readonly clock: Clock
  readonly log: Log
  readonly tracing: Tracing
  /** How long the circuit of an engine stays open, in milliseconds; absent: as long as in production. */
  readonly circuitResetMs?: number | undefined
  /** Opens connections to one dependency. */
  connect(): Connector
}

/** Opens the engines of ENGINES. The embedded sandbox simulates each engine without a URL. */
export function openEngineParts(parts: EngineParts): Engines & Disposable {
  const { settings, servers, metrics, sandboxKey, clock, log, tracing, circuitResetMs, connect } = parts
  const engines = settings.engines.map(({ name, adapter, url, keys, model, factor, hosts }) =>
    openHttpEngine({
      name,
      mode: settings.mode,
      dialect: ADAPTERS[adapter].createDialect({ model, factor }),
      baseUrl: () => url ?? servers.url() + SANDBOX_PREFIX,
      apiKeys: url === null ? [sandboxKey] : keys.length === 0 ? ['sandbox'] : keys,
      // One upstream may relay to another, and its messages may quote the key of the other.
      secrets: settings.engines.flatMap((each) => each.keys),
      resultHosts: hosts,
      connector: connect(),
      timeoutMs: settings.upstreamTimeoutMs,
      clock,
      log,
      tracing,
      onAnswer: (operation, outcome, ms) => metrics.onUpstream(name, operation, outcome, ms),
    }),
  )
  return openEngines(engines, {
    resetMs: circuitResetMs,
    onCircuit(engine, circuit) {
      metrics.onCircuit(engine, circuit)
      if (circuit === 'open') log.warn({ engine }, 'an engine has failed repeatedly: its circuit is open')
    },
  })
}
