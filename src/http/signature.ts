import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

export interface SignaturePolicy {
  /** Keys that count, as plain UTF-8; several while one is being replaced. */
  readonly keys: readonly string[]
  /** How far a timestamp may be from now. */
  readonly windowMs: number
}

/** stale: signed by the vendor, but not now: an old callback sent again, by whomever. */
export type SignatureVerdict = 'genuine' | 'stale' | 'forged'

/**
 * Judges the vendor's signature: `X-Webhook-Signature` is Base64(HMAC-SHA256(key, taskId + "." + timestamp)),
 * `X-Webhook-Timestamp` Unix seconds. It does not cover the body, so it says who sends, not what.
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
