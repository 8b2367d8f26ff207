/** Starts the SDK of OpenTelemetry if its standard variables ask for traces. */
import { setTimeout as pause } from 'node:timers/promises'
import { StartError } from '../start-error.ts'
import type { Log } from '../tasks/ports.ts'
import { NO_TRACING, type Tracing } from '../tasks/tracing.ts'

/** How long the last spans may take to be sent when the process ends. */
const FLUSH_MS = 2_000
const PROTOCOL = 'http/protobuf'

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Exports spans over OTLP if OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
 * OTEL_TRACES_EXPORTER is set; otherwise loads nothing and records nothing. The SDK reads the other `OTEL_…`
 * variables itself. Disposing sends the last spans.
 * @throws StartError for a value that is not supported.
 */
export async function openTracing(
  environment: Environment,
  { version, log }: { readonly version: string; readonly log: Log },
): Promise<Tracing & AsyncDisposable> {
  if (!isRequested(environment)) return { ...NO_TRACING, [Symbol.asyncDispose]: () => Promise.resolve() }
  const { startSdk } = await import('./sdk.ts')
  const { tracing, shutdown } = startSdk(version, log)
  return {
    ...tracing,
    async [Symbol.asyncDispose]() {
      const flushed = shutdown().catch((error: unknown) => {
        log.warn({ err: error }, 'the last spans could not be exported')
      })
      await Promise.race([flushed, pause(FLUSH_MS, undefined, { ref: false })])
    },
  }
}

function isRequested(environment: Environment): boolean {
  const exporter = environment.OTEL_TRACES_EXPORTER ?? ''
  if (environment.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || exporter === 'none') return false
  if (exporter !== '' && exporter !== 'otlp')
    throw new StartError(`OTEL_TRACES_EXPORTER: "${exporter}" is not supported: it must be otlp or none`)
  const endpoint =
    environment.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? environment.OTEL_EXPORTER_OTLP_ENDPOINT ?? ''
  if (endpoint === '' && exporter === '') return false
  const name = environment.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL
    ? 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'
    : 'OTEL_EXPORTER_OTLP_PROTOCOL'
  const protocol = environment[name] ?? ''
  if (protocol !== '' && protocol !== PROTOCOL)
    throw new StartError(`${name}: "${protocol}" is not supported: it must be ${PROTOCOL}`)
  return true
}
