import { hash, randomBytes, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { version as node } from 'node:process'
import type { Clock, Secrets } from './tasks/ports.ts'

/** The machine's clocks. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  // What is overdue by a fraction of a millisecond is due now: Node warns about a negative time.
  after: (ms, callback) => setTimeout(callback, Math.max(0, ms)),
}

/** The versions of this service (of package.json) and of Node.js. */
export function readVersions(): { readonly version: string; readonly node: string } {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  const { version } = JSON.parse(text) as { version: string }
  return { version, node }
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
 * Turns a random UUID (version 4) into one of version 7 (RFC 9562 §5.7), which begins with the milliseconds.
 * Ids that are created together are then adjacent in an index, so that a commit of many writes few pages.
 */
export function toTimeOrdered(uuid: string, now: number): string {
  const time = now.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${uuid.slice(15)}`
}
