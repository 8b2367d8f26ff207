import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey } from 'jose'

/** An identity provider: hands out tokens, and its public keys over real HTTP. */
export interface IdentityProvider extends AsyncDisposable {
  readonly jwksUrl: string
  /** A token of this subject; claims and header may be overridden. */
  sign(sub: string, options?: TokenOptions): Promise<string>
  /** From now on another key signs, and the old one is not published any more. */
  rotate(): Promise<void>
  /** How the key set is answered; 200 unless told. */
  status: number
  /** The body of the key set in the place of the real one. */
  body: string | undefined
}

export interface TokenOptions {
  readonly claims?: Record<string, unknown>
  /** Seconds from now; negative is past. */
  readonly expiresInS?: number
  readonly key?: CryptoKey
  /** The id of the key that the token names. */
  readonly kid?: string
}

export const ISSUER = 'https://issuer.example.com'
export const AUDIENCE = 'upscale'

export async function startIdentityProvider(): Promise<IdentityProvider> {
  let pair = await generateKeyPair('ES256')
  let generation = 1
  const server = createServer((_request, response) => {
    void exportJWK(pair.publicKey).then((jwk) => {
      response.writeHead(provider.status, { 'content-type': 'application/json' })
      response.end(
        provider.body ?? JSON.stringify({ keys: [{ ...jwk, kid: `key-${generation}`, alg: 'ES256' }] }),
      )
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const provider: IdentityProvider = {
    jwksUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`,
    status: 200,
    body: undefined,
    sign(sub, { claims = {}, expiresInS = 600, key, kid = `key-${generation}` } = {}) {
      const now = Math.floor(Date.now() / 1_000)
      return new SignJWT({ sub, iss: ISSUER, aud: AUDIENCE, iat: now, exp: now + expiresInS, ...claims })
        .setProtectedHeader({ alg: 'ES256', kid })
        .sign(key ?? pair.privateKey)
    },
    async rotate() {
      pair = await generateKeyPair('ES256')
      generation += 1
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return provider
}
