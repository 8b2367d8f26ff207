import { addConsoleRoutes } from './http/console.ts'
import { createProviderOrigins } from './http/openid-provider.ts'
import { addStartPage } from './http/start-page.ts'
import { createFetch } from './net/fetch.ts'
import type { Connector } from './net/outbound.ts'
import { CONSOLE_FOLDER } from './programs.ts'
import type { Servers } from './servers.ts'
import type { Settings } from './settings.ts'
import { readVersions } from './system.ts'
import type { Clock, Log } from './tasks/ports.ts'

interface BrowserPages {
  readonly settings: Settings
  readonly servers: Servers
  readonly clock: Clock
  readonly log: Log
  /** The folder of the built console. */
  readonly consoleFolder?: string | undefined
  /** Opens connections to one dependency. */
  connect(): Connector
}

/**
 * Adds the pages for browsers: the start page, and the console if it is on. (GraphiQL is a part of the
 * GraphQL route.)
 */
export async function addBrowserPages(pages: BrowserPages): Promise<void> {
  const { settings, servers, consoleFolder, connect } = pages
  const { mode, auth, oidc, console, graphiql } = settings
  addStartPage(servers.app, { mode, console, graphiql })
  if (!console) return
  const audience = auth.mode === 'jwt' ? auth.audience : null
  const fetch = oidc && createFetch(connect().open())
  await addConsoleRoutes(servers.app, {
    folder: consoleFolder ?? CONSOLE_FOLDER,
    config: {
      mode,
      version: readVersions().version,
      authentication: auth.mode === 'jwt' ? 'bearer' : 'none',
      oidc: oidc && { ...oidc, audience },
    },
    connectOrigins:
      oidc && fetch ? createProviderOrigins(oidc.issuer, { ...pages, fetch }) : () => Promise.resolve([]),
    pictureOrigins: () => toPictureOrigins(settings, servers),
  })
}

/**
 * The origins of links to pictures. The page may be open under another name of this machine, such as
 * localhost.
 */
function toPictureOrigins({ mode, resultUrl, publicUrl, engines }: Settings, servers: Servers): string[] {
  const sandboxes = mode === 'SANDBOX' ? engines.map(({ url }) => url) : []
  const urls = [resultUrl, publicUrl, servers.url(), servers.publicUrl(), ...sandboxes]
  return [...new Set(urls.flatMap((url) => (url === null ? [] : [new URL(url).origin])))]
}
