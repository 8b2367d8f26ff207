import type { Tracing } from '../tasks/tracing.ts'
import type { Outcome, UpstreamRequest } from './http.ts'

interface RequestFacts {
  readonly engine: string
  readonly operation: string
  readonly correlationId: string
  readonly url: string
}

/**
 * Sends a request within a span of its trace (semantic conventions for HTTP clients), which the upstream can
 * continue.
 */
export function traceRequest(
  tracing: Tracing,
  { engine, operation, correlationId, url }: RequestFacts,
  request: UpstreamRequest,
  send: (request: UpstreamRequest) => Promise<Outcome>,
): Promise<Outcome> {
  const { method, traceparent } = request
  const { hostname, port, protocol } = new URL(url)
  const attributes = {
    'http.request.method': method,
    'server.address': hostname,
    'server.port': Number(port) || (protocol === 'https:' ? 443 : 80),
    'upscale.engine': engine,
    'upscale.correlation_id': correlationId,
  }
  const start = { name: `${method} ${operation}`, kind: 'client', traceparent, attributes } as const
  return tracing.run(start, async (span) => {
    const outcome = await send({ ...request, traceparent: span.traceparent })
    if (outcome.kind !== 'answer') span.fail(outcome.kind)
    else {
      const { status } = outcome.head
      span.set({ 'http.response.status_code': status })
      if (status >= 400) span.fail(String(status))
    }
    return outcome
  })
}
