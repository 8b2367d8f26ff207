import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

/**
 * A small OpenID provider over real HTTP: discovery, authorization code with PKCE (S256 only), and public
 * keys. It consents at once, as the user `alice`. Its token endpoint has another origin than its issuer.
 */
export interface OpenIdProvider extends AsyncDisposable {
  readonly issuer: string
  readonly jwksUrl: string
  readonly tokenOrigin: string
  /** The registered redirect URI of the client; only pages of its origin may read responses. */
  redirectUri: string
  /** How long access tokens are valid. */
  lifetimeS: number
  /** Sent back instead of the `state` of the request. */
  forgedState: string | undefined
  /** Sent back instead of a code. */
  refusal: { readonly error: string; readonly error_description: string } | undefined
  /** The parameters of each authorization request. */
  readonly authorizations: Readonly<Record<string, string>>[]
  /** The access tokens that were issued. */
  readonly issued: string[]
  /** Why token requests were refused. */
  readonly refusedTokens: string[]
  /** An access token of this subject. */
  sign(sub: string): Promise<string>
}

export const CLIENT_ID = 'console'

interface Grant {
  readonly challenge: string
  readonly redirectUri: string
}

export async function startOpenIdProvider(): Promise<OpenIdProvider> {
  const { publicKey, privateKey } = await generateKeyPair('RS256')
  const grants = new Map<string, Grant>()
  const server = createServer((request, response) => void handle(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const issuer = `http://127.0.0.1:${port}`
  const sign = (claims: { readonly sub: string; readonly aud: string }, lifetimeS: number) =>
    new SignJWT({ ...claims })
      .setProtectedHeader({ alg: 'RS256', kid: 'key-1' })
      .setIssuer(issuer)
      .setIssuedAt()
      .setExpirationTime(`${lifetimeS}s`)
      .sign(privateKey)

  const authorize = (parameters: URLSearchParams, response: ServerResponse): void => {
    const request = Object.fromEntries(parameters)
    provider.authorizations.push(request)
    const { redirect_uri: redirectUri = '', code_challenge: challenge = '', state = '' } = request
    const isValid =
      request.client_id === CLIENT_ID &&
      request.response_type === 'code' &&
      request.code_challenge_method === 'S256' &&
      redirectUri === provider.redirectUri
    if (!isValid) return void response.writeHead(400).end('The authorization request is not valid')
    const code = randomUUID()
    grants.set(code, { challenge, redirectUri })
    const target = new URL(redirectUri)
    const answer = { ...(provider.refusal ?? { code }), state: provider.forgedState ?? state, iss: issuer }
    for (const [name, value] of Object.entries(answer)) target.searchParams.set(name, value)
    response.writeHead(302, { location: target.href }).end()
  }

  const issue = async (form: URLSearchParams, response: ServerResponse): Promise<void> => {
    const grant = grants.get(form.get('code') ?? '')
    grants.delete(form.get('code') ?? '')
    const verifier = form.get('code_verifier') ?? ''
    const fault =
      (form.get('grant_type') !== 'authorization_code' && 'grant_type') ||
      (form.get('client_id') !== CLIENT_ID && 'client_id') ||
      (grant === undefined && 'code') ||
      (grant?.redirectUri !== form.get('redirect_uri') && 'redirect_uri') ||
      (grant?.challenge !== createHash('sha256').update(verifier).digest('base64url') && 'code_verifier')
    if (fault !== false) {
      provider.refusedTokens.push(fault)
      send(response, { error: 'invalid_grant', error_description: fault }, 400)
      return
    }
    const accessToken = await sign({ sub: 'alice', aud: 'upscale' }, provider.lifetimeS)
    provider.issued.push(accessToken)
    send(response, {
      access_token: accessToken,
      id_token: await sign({ sub: 'alice', aud: CLIENT_ID }, 3_600),
      token_type: 'Bearer',
      expires_in: provider.lifetimeS,
    })
  }

  const send = (response: ServerResponse, body: object, status = 200): void => {
    const origin = URL.parse(provider.redirectUri)?.origin ?? 'null'
    response.writeHead(status, {
      'content-type': 'application/json',
      'access-control-allow-origin': origin,
      'cache-control': 'no-store',
    })
    response.end(JSON.stringify(body))
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname, searchParams } = new URL(request.url ?? '', issuer)
    const route = `${request.method} ${pathname}`
    if (route === 'GET /.well-known/openid-configuration') send(response, toMetadata(issuer))
    else if (route === 'GET /jwks') {
      const jwk = await exportJWK(publicKey)
      send(response, { keys: [{ ...jwk, kid: 'key-1', alg: 'RS256', use: 'sig' }] })
    } else if (route === 'GET /authorize') authorize(searchParams, response)
    else if (route === 'POST /token') await issue(new URLSearchParams(await text(request)), response)
    else response.writeHead(404).end()
  }

  const provider: OpenIdProvider = {
    issuer,
    jwksUrl: `${issuer}/jwks`,
    tokenOrigin: `http://localhost:${port}`,
    redirectUri: '',
    lifetimeS: 3_600,
    forgedState: undefined,
    refusal: undefined,
    authorizations: [],
    issued: [],
    refusedTokens: [],
    sign: (sub) => sign({ sub, aud: 'upscale' }, 3_600),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return provider
}

const toMetadata = (issuer: string) => ({
  issuer,
  authorization_endpoint: `${issuer}/authorize`,
  token_endpoint: `${issuer.replace('127.0.0.1', 'localhost')}/token`,
  jwks_uri: `${issuer}/jwks`,
  response_types_supported: ['code'],
  subject_types_supported: ['public'],
  id_token_signing_alg_values_supported: ['RS256'],
  code_challenge_methods_supported: ['S256'],
  token_endpoint_auth_methods_supported: ['none'],
  authorization_response_iss_parameter_supported: true,
})
