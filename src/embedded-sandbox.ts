import type { FastifyInstance } from 'fastify'
import type { Sandbox, SandboxOptions } from './sandbox/sandbox.ts'
import { isWildcard, type Servers } from './servers.ts'
import type { Settings } from './settings.ts'
import type { Log } from './tasks/ports.ts'

/** The path of the sandbox on the gateway's own server. */
export const SANDBOX_PREFIX = '/sandbox'

interface EmbeddedSandboxOptions {
  /** The only key that the sandbox accepts. */
  readonly apiKey: string
  readonly log: Log
  readonly completeAfterMs?: number | undefined
}

/** Adds the sandbox to the gateway's own server, unless UPSTREAM_URL names an upstream elsewhere. */
export async function addEmbeddedSandbox(
  settings: Settings,
  { app, publicUrl }: Servers,
  { apiKey, log, completeAfterMs }: EmbeddedSandboxOptions,
): Promise<Sandbox | undefined> {
  if (settings.upstreamUrl !== null) return undefined
  // Loaded only here, because live mode needs no image library.
  const { addSandbox } = await import('./sandbox/sandbox.ts')
  const [webhookKey] = settings.upstreamWebhookKeys
  const options: SandboxOptions = {
    apiKey,
    callbackBase: () => `${publicUrl() ?? ''}/callbacks/`,
    images: settings.sandboxImages,
    database: settings.database,
    publicBase: createPictureBase(app, settings),
    log,
    ...(completeAfterMs !== undefined && { completeAfterMs }),
    ...(webhookKey && { webhookKey }),
  }
  const added = Promise.withResolvers<Sandbox>()
  await app.register(async (scope) => added.resolve(await addSandbox(scope, options)), {
    prefix: SANDBOX_PREFIX,
  })
  return added.promise
}

/**
 * The base of the sandbox's picture URLs: PUBLIC_URL (unless that is the callback port's). Without PUBLIC_URL, a
 * service that listens on all addresses uses the Host of the last GraphQL request over HTTP.
 */
function createPictureBase(
  app: FastifyInstance,
  { host, publicUrl, callbackPort, auth }: Settings,
): () => string | null {
  if (publicUrl !== null && callbackPort === null) return () => publicUrl
  if (!isWildcard(host)) return () => null
  let requested: string | null = null
  // Only authenticated callers choose the host. GET serves GraphiQL's page without authentication.
  app.addHook('preHandler', ({ method, routeOptions, host: name }, _reply, done) => {
    const authenticated = auth.mode === 'none' || method === 'POST'
    if (authenticated && routeOptions.url?.startsWith('/graphql')) requested = name
    done()
  })
  return () =>
    requested !== null && URL.canParse(`http://${requested}`) ? new URL(`http://${requested}`).origin : null
}
