import { errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey, type JWTVerifyOptions } from 'jose'

/**
 * Verifies a JWT with the first of the keys that fits its signature, and then its claims.
 * @throws the error of jose; about the signature only if it fits none of the keys.
 */
export async function verifyToken(
  token: string,
  keys: readonly JWTVerifyGetKey[],
  options: JWTVerifyOptions,
): Promise<JWTPayload> {
  let unfit = new errors.JWSSignatureVerificationFailed()
  for (const key of keys) {
    try {
      return (await jwtVerify(token, key, options)).payload
    } catch (error) {
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error
      unfit = error
    }
  }
  throw unfit
}
