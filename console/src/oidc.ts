/** Sign-in with an identity provider: authorization code with PKCE. Loaded only when it is used. */
import * as oauth from 'oauth4webapi'
import type { OidcConfig } from './config.ts'

const KEY = 'upscale-console:sign-in'

/** What has to survive the way to the identity provider and back. */
interface Pending {
  readonly state: string
  readonly verifier: string
  /** The place in the console to return to. */
  readonly hash: string
}

const redirectUri = (): string => new URL('.', location.href.split('#')[0]).href.replace(/\?.*$/, '')

/** HTTP is for identity providers on this machine. */
// eslint-disable-next-line @typescript-eslint/no-deprecated -- deprecated, so that its use stands out.
const toOptions = (issuer: URL) => ({ [oauth.allowInsecureRequests]: issuer.protocol === 'http:' })

async function discover({ issuer }: OidcConfig): Promise<oauth.AuthorizationServer> {
  const url = new URL(issuer)
  const response = await oauth.discoveryRequest(url, { algorithm: 'oidc', ...toOptions(url) })
  return oauth.processDiscoveryResponse(url, response)
}

/** Leaves the console for the identity provider. */
export async function startSignIn(config: OidcConfig, storage: Storage): Promise<void> {
  const server = await discover(config)
  if (server.authorization_endpoint === undefined)
    throw new Error(`${config.issuer} names no authorization_endpoint.`)
  const verifier = oauth.generateRandomCodeVerifier()
  const pending: Pending = { state: oauth.generateRandomState(), verifier, hash: location.hash }
  storage.setItem(KEY, JSON.stringify(pending))
  const url = new URL(server.authorization_endpoint)
  const parameters = {
    client_id: config.clientId,
    redirect_uri: redirectUri(),
    response_type: 'code',
    scope: config.scope,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state: pending.state,
    ...(config.audience !== null && { audience: config.audience }),
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  location.assign(url)
}

/**
 * Completes a sign-in when the identity provider has sent the browser back. Resolves to the access token.
 * @throws Error if the identity provider refuses, or the answer does not belong to this tab.
 */
export async function finishSignIn(config: OidcConfig, storage: Storage): Promise<string> {
  const stored = storage.getItem(KEY)
  storage.removeItem(KEY)
  const answer = new URL(location.href)
  const pending = stored === null ? null : (JSON.parse(stored) as Pending)
  history.replaceState(null, '', `${answer.pathname}${pending?.hash ?? ''}`)
  if (!pending) throw new Error('This sign-in was started in another tab: sign in again.')
  const server = await discover(config)
  const client: oauth.Client = { client_id: config.clientId }
  const parameters = oauth.validateAuthResponse(server, client, answer.searchParams, pending.state)
  const response = await oauth.authorizationCodeGrantRequest(
    server,
    client,
    oauth.None(),
    parameters,
    redirectUri(),
    pending.verifier,
    toOptions(new URL(config.issuer)),
  )
  const { access_token } = await oauth.processAuthorizationCodeResponse(server, client, response)
  return access_token
}
