/** The only file that imports the SDK of OpenTelemetry, which is loaded on demand. */
import { diag, DiagLogLevel } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import {
  defaultResource,
  detectResources,
  envDetector,
  hostDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources'
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node'
import { randomUUID } from 'node:crypto'
import type { Log } from '../tasks/ports.ts'
import type { Tracing } from '../tasks/tracing.ts'
import { createTracing } from './tracing.ts'

const SERVICE = 'upscale-gateway'

/** Starts the export of spans, with the sampler, limits and resource of the `OTEL_…` variables. */
export function startSdk(
  version: string,
  log: Log,
): { readonly tracing: Tracing; readonly shutdown: () => Promise<void> } {
  const report = (message: string, ...details: unknown[]) => log.warn({ details }, `tracing: ${message}`)
  const ignore = () => undefined
  diag.setLogger(
    { error: report, warn: report, info: ignore, debug: ignore, verbose: ignore },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  )
  const own = resourceFromAttributes({
    'service.name': SERVICE,
    'service.version': version,
    'service.instance.id': randomUUID(),
  })
  const provider = new NodeTracerProvider({
    resource: defaultResource()
      .merge(own)
      .merge(detectResources({ detectors: [hostDetector, envDetector] })),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  })
  // For the context of running work (AsyncLocalStorage).
  provider.register()
  return {
    tracing: createTracing(provider.getTracer(SERVICE, version)),
    shutdown: () => provider.shutdown(),
  }
}
