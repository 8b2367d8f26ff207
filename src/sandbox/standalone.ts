import Fastify from 'fastify'
import { addSandbox, type SandboxOptions } from './sandbox.ts'

export interface StandaloneOptions {
  readonly host: string
  readonly port: number
  readonly sandboxImages: string | null
  /** Callbacks are signed with the first of them. */
  readonly webhookKeys?: readonly string[]
}

/** The sandbox as a server of its own, for a gateway that is pointed at it with UPSTREAM_URL. */
export async function startSandbox(
  { host, port, sandboxImages, webhookKeys = [] }: StandaloneOptions,
  log: SandboxOptions['log'] & { info(sentence: string): void },
  options: Partial<SandboxOptions> = {},
): Promise<AsyncDisposable & { readonly url: string }> {
  const app = Fastify({ forceCloseConnections: true })
  const [webhookKey] = webhookKeys
  const all = { images: sandboxImages, log, ...(webhookKey && { webhookKey }), ...options }
  await app.register((sandbox) => addSandbox(sandbox, all))
  const url = await app.listen({ host, port })
  log.info(`Sandbox upstream at ${url}`)
  return { url, [Symbol.asyncDispose]: () => app.close() }
}
