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

/** Why a sign-in failed, and what to do. */
function explain(error: unknown, { issuer }: OidcConfig): Error {
  if (error instanceof oauth.AuthorizationResponseError || error instanceof oauth.ResponseBodyError) {
    const details = error.error_description === undefined ? '' : ` (${error.error_description})`
    return new Error(`${new URL(issuer).host} refuses the sign-in: ${error.error}${details}.`)
  }
  // `fetch` rejects with it, and does not say why.
  if (error instanceof TypeError)
    return new Error(
      `${issuer} cannot be reached from this page. It must run, and allow ${location.origin} (CORS).`,
    )
  return error instanceof Error ? error : new Error(String(error))
}

/**
 * Leaves the console for the identity provider.
 * @throws Error if the identity provider cannot be reached.
 */
export async function startSignIn(config: OidcConfig, storage: Storage): Promise<void> {
  const server = await discover(config).catch((error: unknown) => {
    throw explain(error, config)
  })
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
  // The router has seen the hash of the URL to which the identity provider has sent the browser: none.
  dispatchEvent(new HashChangeEvent('hashchange'))
  if (!pending) throw new Error('This sign-in was started in another tab: sign in again.')
  if (answer.searchParams.get('state') !== pending.state)
    throw new Error('This answer does not belong to the sign-in that was started here: sign in again.')
  try {
    return await redeem(config, answer.searchParams, pending)
  } catch (error) {
    throw explain(error, config)
  }
}

/** Exchanges the code of an answer for an access token. */
async function redeem(config: OidcConfig, answer: URLSearchParams, pending: Pending): Promise<string> {
  const server = await discover(config)
  const client: oauth.Client = { client_id: config.clientId }
  const parameters = oauth.validateAuthResponse(server, client, answer, pending.state)
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
