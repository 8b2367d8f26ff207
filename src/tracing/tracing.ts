/** Tracing with the API of OpenTelemetry. */
import {
  context,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Context,
  type SpanContext,
  type Span as ApiSpan,
  type Tracer,
} from '@opentelemetry/api'
import { NO_TRACING, type Attributes, type Span, type SpanStart, type Tracing } from '../tasks/tracing.ts'

const KINDS = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
  internal: SpanKind.INTERNAL,
} as const satisfies Record<SpanStart['kind'], SpanKind>

export function createTracing(tracer: Tracer): Tracing {
  return {
    run({ name, kind, traceparent, links = [], attributes = {}, onlyWithin = false }, work) {
      if (onlyWithin && trace.getSpanContext(context.active()) === undefined)
        return NO_TRACING.run({ name, kind, traceparent }, work)
      const { parent, links: found } = findParent(parse(traceparent))
      const linked = [...found, ...links.map(parse)].flatMap((each) => (each ? [{ context: each }] : []))
      const options = { kind: KINDS[kind], attributes: withoutMissing(attributes), links: linked }
      return tracer.startActiveSpan(name, options, parent, (span) => runWithin(span, work))
    },
  }
}

/**
 * The running span, unless the work belongs to another trace: then the running span is only a link. It runs,
 * for example, the queue, which sends tasks of other operations, too.
 */
function findParent(given: SpanContext | undefined): {
  readonly parent: Context
  readonly links: readonly SpanContext[]
} {
  const active = context.active()
  const running = trace.getSpanContext(active)
  if (running !== undefined && (given === undefined || given.traceId === running.traceId))
    return { parent: active, links: [] }
  const parent = given === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, given)
  return { parent, links: running === undefined ? [] : [running] }
}

async function runWithin<T>(span: ApiSpan, work: (span: Span) => Promise<T>): Promise<T> {
  const fail = (type: string) => {
    span.setAttribute('error.type', type)
    span.setStatus({ code: SpanStatusCode.ERROR })
  }
  try {
    return await work({
      traceparent: format(span.spanContext()),
      rename: (name) => void span.updateName(name),
      set: (attributes) => void span.setAttributes(withoutMissing(attributes)),
      fail,
    })
  } catch (error) {
    // Without its message, which may hold a secret: the log has it.
    fail(error instanceof Error ? error.name : 'Error')
    throw error
  } finally {
    span.end()
  }
}

function withoutMissing(attributes: Attributes): Record<string, string | number | boolean> {
  const given: Record<string, string | number | boolean> = {}
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) given[name] = value
  return given
}

function format({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}

function parse(traceparent: string | null): SpanContext | undefined {
  const [, traceId, spanId, flags] = traceparent?.split('-') ?? []
  if (traceId === undefined || spanId === undefined) return undefined
  return { traceId, spanId, traceFlags: Number.parseInt(flags ?? '0', 16), isRemote: true }
}
