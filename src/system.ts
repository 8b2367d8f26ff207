import { createHash, randomBytes, randomUUID } from 'node:crypto'
import type { Clock, Secrets } from './tasks/ports.ts'

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms)
    return { [Symbol.dispose]: () => clearTimeout(timer) }
  },
}

/** Ids and secrets from the system's random source. */
export const systemSecrets: Secrets = {
  newId: () => randomUUID(),
  newToken: () => randomBytes(32).toString('base64url'),
  digest: (text) => createHash('sha256').update(text).digest('base64url'),
}
