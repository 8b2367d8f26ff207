import type { FastifyInstance } from 'fastify'
import type { Log, TaskStore } from '../tasks/ports.ts'
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

/** `/livez`: the process responds. `/readyz`: it accepts work. */
export function addHealthRoutes(app: FastifyInstance, { store, log, isDraining }: Health): void {
  app.get('/livez', HEALTH, () => ({ status: 'ok' }))
  app.get('/readyz', HEALTH, async (_request, reply) => {
    if (isDraining()) return reply.code(503).send({ status: 'draining' })
    try {
      await store.check()
      return { status: 'ok' }
    } catch (error) {
      log.warn({ err: error }, 'not ready: the store check failed')
      addRetryAfter(reply)
      return reply.code(503).send({ status: 'store unavailable' })
    }
  })
}
