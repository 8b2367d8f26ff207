import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

export interface SignaturePolicy {
  /** In UTF-8. Each is valid, so that a key can be replaced. */
  readonly keys: readonly string[]
  /** The maximum difference of a timestamp from now. */
  readonly windowMs: number
}

/** stale: the signature is valid, but old, so the callback may be replayed. */
type SignatureVerdict = 'genuine' | 'stale' | 'forged'

/**
 * Verifies the upstream's signature: `X-Webhook-Signature` is Base64(HMAC-SHA256(key, taskId + "." +
 * timestamp)), `X-Webhook-Timestamp` has Unix seconds. It does not cover the body.
 */
export function verifySignature(
  { keys, windowMs }: SignaturePolicy,
  headers: IncomingHttpHeaders,
  upstreamTaskId: string,
  now: number,
): SignatureVerdict {
  const timestamp = headers['x-webhook-timestamp']
  const signature = headers['x-webhook-signature']
  if (typeof timestamp !== 'string' || typeof signature !== 'string' || !/^\d{1,12}$/.test(timestamp))
    return 'forged'
  const given = Buffer.from(signature, 'base64')
  const matches = keys.map((key) => {
    const expected = createHmac('sha256', key).update(`${upstreamTaskId}.${timestamp}`).digest()
    return given.length === expected.length && timingSafeEqual(given, expected)
  })
  if (!matches.includes(true)) return 'forged'
  return Math.abs(now - Number(timestamp) * 1_000) <= windowMs ? 'genuine' : 'stale'
}
