import type { Sandbox, SandboxOptions } from './sandbox/sandbox.ts'
import type { Servers } from './servers.ts'
import type { Settings } from './settings.ts'
import type { Clock, Log } from './tasks/ports.ts'

/** The path of the sandbox on the gateway's own server. */
export const SANDBOX_PREFIX = '/sandbox'

interface EmbeddedSandboxParts {
  readonly settings: Settings
  readonly servers: Servers
  readonly clock: Clock
  readonly log: Log
}

interface EmbeddedSandboxOptions {
  /** The only key that the sandbox accepts. */
  readonly apiKey: string
  /** The base of URLs by the requests of callers; null: not known. */
  readonly requestedBase: () => string | null
  readonly completeAfterMs?: number | undefined
}

/** Adds the sandbox to the gateway's own server, if it simulates an engine. */
export async function addEmbeddedSandbox(
  { settings, servers, clock, log }: EmbeddedSandboxParts,
  { apiKey, requestedBase, completeAfterMs }: EmbeddedSandboxOptions,
): Promise<Sandbox | undefined> {
  const { publicUrl, callbackPort } = settings
  if (settings.engines.every(({ url }) => url !== null)) return undefined
  // Loaded only here, because live mode does not need it.
  const { addSandbox } = await import('./sandbox/sandbox.ts')
  const [webhookKey] = settings.upstreamWebhookKeys
  const options: SandboxOptions = {
    apiKey,
    callbackBase: () => `${servers.publicUrl() ?? ''}/callbacks/`,
    images: settings.sandboxImages,
    rateLimit: settings.sandboxRateLimit,
    elapsed: () => clock.elapsed(),
    database: settings.database,
    // With CALLBACK_PORT, PUBLIC_URL leads to the other port, which does not serve the sandbox.
    publicBase: () => (callbackPort === null ? publicUrl : null) ?? requestedBase(),
    log,
    ...(completeAfterMs !== undefined && { completeAfterMs }),
    ...(webhookKey && { webhookKey }),
  }
  const added = Promise.withResolvers<Sandbox>()
  await servers.app.register(
    async (scope) => {
      // As at a real upstream, pages may show its pictures, but not read them.
      scope.addHook('onSend', (_request, reply, payload, done) => {
        reply.removeHeader('access-control-allow-origin')
        done(null, payload)
      })
      added.resolve(await addSandbox(scope, options))
    },
    { prefix: SANDBOX_PREFIX },
  )
  return added.promise
}
