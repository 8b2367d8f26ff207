/** What the gateway tells its console before anyone has signed in. */
export interface ConsoleConfig {
  readonly mode: 'SANDBOX' | 'LIVE'
  readonly version: string
  readonly authentication: 'none' | 'bearer'
  /** The identity provider to sign in with; null: a token is pasted. */
  readonly oidc: OidcConfig | null
}

export interface OidcConfig {
  readonly issuer: string
  readonly clientId: string
  readonly scope: string
  readonly audience: string | null
}

/** The URL of a path of the gateway. The console is one level below: `/console/`. */
export const toGatewayUrl = (path: string): URL => new URL(`../${path}`, document.baseURI)

/** @throws Error if the gateway does not answer with the configuration. */
export async function readConfig(): Promise<ConsoleConfig> {
  const response = await fetch(toGatewayUrl('console/config.json'), { cache: 'no-store' })
  if (!response.ok) throw new Error(`The gateway answered with HTTP ${response.status}.`)
  return (await response.json()) as ConsoleConfig
}
