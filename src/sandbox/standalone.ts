import Fastify from 'fastify'
import { addSandbox, type SandboxOptions } from './sandbox.ts'

export interface StandaloneOptions {
  readonly host: string
  readonly port: number
  readonly sandboxImages: string | null
}

/** The sandbox as a server of its own, for a gateway that is pointed at it with UPSTREAM_URL. */
export async function startSandbox(
  { host, port, sandboxImages }: StandaloneOptions,
  log: SandboxOptions['log'] & { info(sentence: string): void },
  options: Partial<SandboxOptions> = {},
): Promise<AsyncDisposable & { readonly url: string }> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register((sandbox) => addSandbox(sandbox, { images: sandboxImages, log, ...options }))
  const url = await app.listen({ host, port })
  log.info(`Sandbox upstream at ${url}`)
  return { url, [Symbol.asyncDispose]: () => app.close() }
}
