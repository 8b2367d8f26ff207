import cors from '@fastify/cors'
import Fastify from 'fastify'
import type { SandboxDatabase } from './kept-tasks.ts'
import type { RateLimit } from './refusals.ts'
import { addSandbox, type Sandbox, type SandboxOptions } from './sandbox.ts'

interface StandaloneOptions {
  readonly host: string
  readonly port: number
  readonly sandboxImages: string | null
  readonly sandboxRateLimit?: RateLimit | null
  /** The first key signs callbacks. */
  readonly upstreamWebhookKeys?: readonly string[]
  /** Origins whose pages may read the pictures and the API. */
  readonly corsOrigins?: readonly string[]
  /** Absent: in memory. */
  readonly database?: SandboxDatabase
}

/** The sandbox as a separate server, for a gateway whose UPSTREAM_URL names it. It accepts any key. */
export async function startSandbox(
  {
    host,
    port,
    sandboxImages,
    sandboxRateLimit: rateLimit = null,
    database,
    upstreamWebhookKeys: webhookKeys = [],
    corsOrigins = [],
  }: StandaloneOptions,
  log: SandboxOptions['log'] & { info(sentence: string): void },
  options: Partial<SandboxOptions> = {},
): Promise<AsyncDisposable & { readonly url: string }> {
  const app = Fastify({ forceCloseConnections: true })
  const [webhookKey] = webhookKeys
  if (corsOrigins.length > 0)
    await app.register(cors, { origin: [...corsOrigins], methods: ['GET', 'POST'], maxAge: 600 })
  let started: Sandbox | undefined
  await app.register(async (scope) => {
    started = await addSandbox(scope, {
      images: sandboxImages,
      rateLimit,
      database: database ?? { kind: 'memory' },
      log,
      ...(webhookKey && { webhookKey }),
      ...options,
    })
  })
  const url = await app.listen({ host, port })
  await started?.resume()
  log.info(`Sandbox upstream at ${url}`)
  return { url, [Symbol.asyncDispose]: () => app.close() }
}
