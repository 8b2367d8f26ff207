import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Log } from '../tasks/ports.ts'
import type { TaskStore } from '../tasks/store-port.ts'
import { addRetryAfter } from './http-errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Allows HTTP/1.0 requests without a Host, which load balancers send. */
    hostOptional?: boolean
  }
}

const HEALTH = { config: { hostOptional: true } }

interface Health {
  readonly store: Pick<TaskStore, 'check'>
  readonly log: Log
  isDraining(): boolean
  /**
   * The state of the other parts, for `/readyz?verbose`: no secrets. They do not make the service not ready.
   */
  parts(): Readonly<Record<string, unknown>>
}

/** `/metrics`, in the Prometheus text format. */
export function addMetricsRoute(
  app: FastifyInstance,
  render: () => Promise<{ readonly contentType: string; readonly text: string }>,
): void {
  app.get('/metrics', HEALTH, async (_request, reply) => {
    const { contentType, text } = await render()
    return reply.type(contentType).send(text)
  })
}

/** `/livez`: the process responds. `/readyz`: it accepts work; `?verbose` adds the state of each part. */
export function addHealthRoutes(app: FastifyInstance, { store, log, isDraining, parts }: Health): void {
  app.get('/livez', HEALTH, () => ({ status: 'ok' }))
  const check = async () => {
    if (isDraining()) return 'draining'
    try {
      await store.check()
      return 'ok'
    } catch (error) {
      log.warn({ err: error }, 'not ready: the store check failed')
      return 'store unavailable'
    }
  }
  app.get(
    '/readyz',
    HEALTH,
    async (request: FastifyRequest<{ Querystring: { verbose?: unknown } }>, reply) => {
      const status = await check()
      if (status !== 'ok') addRetryAfter(reply.code(503))
      return request.query.verbose === undefined ? { status } : { status, ...parts() }
    },
  )
}
