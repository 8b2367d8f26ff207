import { hash, randomBytes, randomUUID } from 'node:crypto'
import type { Clock, Secrets } from './tasks/ports.ts'

/** The machine's clocks. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after: (ms, callback) => setTimeout(callback, ms),
}

/** Ids and secrets from the system's random source. */
export const systemSecrets: Secrets & {
  /** A new secret for Standard Webhooks. */
  newSigningSecret(): string
} = {
  newId: () => toTimeOrdered(randomUUID(), Date.now()),
  newToken: () => randomBytes(32).toString('base64url'),
  newSigningSecret: () => `whsec_${randomBytes(32).toString('base64')}`,
  digest: (text) => hash('sha256', text, 'base64url'),
}

/**
 * Turns a random UUID (version 4) into one of version 7 (RFC 9562 §5.7), which begins with the milliseconds. Ids that
 * are created together are then adjacent in an index, so that a commit of many writes few pages.
 */
function toTimeOrdered(uuid: string, now: number): string {
  const time = now.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${uuid.slice(15)}`
}
