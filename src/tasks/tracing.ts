/**
 * The port of distributed tracing. Traces are named by the header `traceparent` of W3C Trace Context (version
 * 00).
 */

import type { UpscaleTask } from './task.ts'

/** Values of the semantic conventions of OpenTelemetry; a missing value is left out. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>

/** The attributes of every span that is about a task. */
export function toTaskAttributes({ id, engine, correlationId }: UpscaleTask): Attributes {
  return { 'upscale.task.id': id, 'upscale.engine': engine, 'upscale.correlation_id': correlationId }
}

export interface SpanStart {
  /** One of few names: it holds no ids. */
  readonly name: string
  readonly kind: 'server' | 'client' | 'producer' | 'consumer' | 'internal'
  /** The trace that the span continues if the work does not run within a span of that trace; null: none. */
  readonly traceparent: string | null
  /** Spans that are related, but not the parent; null is left out. */
  readonly links?: readonly (string | null)[]
  readonly attributes?: Attributes
  /** True: without a running span the work is not recorded. Otherwise it would be a trace of its own. */
  readonly onlyWithin?: boolean
}

export interface Span {
  /** To be sent to the system that the work calls; null: there is no trace. */
  readonly traceparent: string | null
  rename(name: string): void
  set(attributes: Attributes): void
  /** Marks the span as failed. `type`: a code, such as an HTTP status. */
  fail(type: string): void
}

export interface Tracing {
  /** Runs the work within a new span, which ends when the work does. A rejection marks the span as failed. */
  run<T>(start: SpanStart, work: (span: Span) => Promise<T>): Promise<T>
}

/** Records nothing, and passes a trace on to the systems that are called. */
export const NO_TRACING: Tracing = {
  run: ({ traceparent }, work) => work({ traceparent, ...NO_RECORD }),
}

const NO_RECORD: Omit<Span, 'traceparent'> = {
  rename: () => undefined,
  set: () => undefined,
  fail: () => undefined,
}

/** Later versions may have more fields than version 00. */
const FORMAT =
  /^(?:00(?=.{53}$)|(?!00|ff)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/

/** Parses a header `traceparent` of any version to version 00; null if it is missing or invalid. */
export function parseTraceparent(header: unknown): string | null {
  if (typeof header !== 'string' || header.length > 200) return null
  const [, traceId, spanId, flags] = FORMAT.exec(header) ?? []
  return traceId === undefined ? null : `00-${traceId}-${spanId ?? ''}-${flags ?? ''}`
}

/** The trace id of a parsed `traceparent`. */
export function toTraceId(traceparent: string): string {
  return traceparent.slice(3, 35)
}
