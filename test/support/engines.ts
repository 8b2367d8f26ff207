import { openConnector } from '../../src/net/outbound.ts'
import type { Engine, Engines } from '../../src/tasks/engines/engine-ports.ts'
import type { Clock, Log } from '../../src/tasks/ports.ts'
import { openEngines } from '../../src/upstream/engines.ts'
import { openHttpEngine } from '../../src/upstream/http-engine.ts'
import { kieMidjourney } from '../../src/upstream/kie-midjourney/dialect.ts'

interface EngineOptions {
  readonly name?: string
  readonly url: string
  readonly timeoutMs?: number
  readonly clock: Clock
  readonly log: Log
}

/** The engine of the service's default settings, at this URL. */
export function openKieMidjourney({
  name = 'kie-midjourney',
  url,
  timeoutMs = 2_000,
  clock,
  log,
}: EngineOptions): Engine & Disposable {
  return openHttpEngine({
    name,
    mode: 'LIVE',
    dialect: kieMidjourney,
    baseUrl: () => url,
    apiKeys: ['key'],
    secrets: [],
    resultHosts: [],
    connector: openConnector(),
    timeoutMs,
    clock,
    log,
  })
}

/** The engines of the service's default settings, at this URL. */
export function openKieMidjourneyAlone(options: EngineOptions): Engines & Disposable {
  return openEngines([openKieMidjourney(options)], { onCircuit: () => undefined })
}
