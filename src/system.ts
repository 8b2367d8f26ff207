import { createHash, randomBytes, randomUUID } from 'node:crypto'
import type { Clock, Secrets } from './tasks/ports.ts'

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, callback) => setTimeout(callback, ms),
}

/** Ids and secrets from the system's random source. */
export const systemSecrets: Secrets & {
  /** A new secret for Standard Webhooks. */
  newSigningSecret(): string
} = {
  newId: () => randomUUID(),
  newToken: () => randomBytes(32).toString('base64url'),
  newSigningSecret: () => `whsec_${randomBytes(32).toString('base64')}`,
  digest: (text) => createHash('sha256').update(text).digest('base64url'),
}
