import type { FastifyInstance } from 'fastify'
import { isWildcard, type Servers } from './servers.ts'
import type { Settings } from './settings.ts'

/**
 * The base of URLs for a service without PUBLIC_URL that listens on all addresses (in a container, for
 * example): the host of the last GraphQL request over HTTP. Null: not known.
 */
export function observeRequestedBase(app: FastifyInstance, { host, auth }: Settings): () => string | null {
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

/** The base of the links of copies, which are served on both ports. Null: no copies are served. */
export function createResultBase(
  { resultUrl, publicUrl, resultStore }: Settings,
  servers: Servers,
  requestedBase: () => string | null,
): () => string | null {
  if (resultStore.kind === 'off') return () => null
  return () => resultUrl ?? publicUrl ?? requestedBase() ?? servers.publicUrl()
}
