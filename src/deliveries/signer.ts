import { Webhook } from 'standardwebhooks'
import type { DeliverySigner } from './outbox.ts'

/**
 * A secret in the form of Standard Webhooks (`whsec_` and Base64); `owner` null: for all owners without their
 * own secret.
 */
interface SigningSecret {
  readonly owner: string | null
  readonly secret: string
}

/**
 * Signs with every secret that an owner has, so that receivers accept deliveries while a secret is being
 * replaced.
 */
export function createDeliverySigner(secrets: readonly SigningSecret[]): DeliverySigner {
  const webhooks = Map.groupBy(secrets, ({ owner }) => owner)
  const find = (owner: string) => webhooks.get(owner) ?? webhooks.get(null) ?? []
  return {
    canSign: (owner) => find(owner).length > 0,
    sign(owner, id, at, body) {
      const signatures = find(owner).map(({ secret }) => new Webhook(secret).sign(id, new Date(at), body))
      if (signatures.length === 0) return undefined
      return {
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(at / 1_000)),
        'webhook-signature': signatures.join(' '),
      }
    },
  }
}
