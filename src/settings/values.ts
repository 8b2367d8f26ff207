/** The formats of settings. Each schema parses a text, or reports the required format. */
import { isIP } from 'node:net'
import * as z from 'zod'

/** A setting without a default is null if it is not set. */
export const optional = <T extends z.ZodType>(schema: T) => schema.nullable().default(null)

/** A whole number in a range. */
export const integer = (min: number, max: number) => {
  const range = `must be a whole number from ${min} to ${max}`
  return z
    .string()
    .regex(/^\d+$/, range)
    .transform(Number)
    .refine((value) => value >= min && value <= max, range)
}

/** A count, at most a million; 0 means no limit (null). */
export const limit = integer(0, 1_000_000).transform((count) => (count === 0 ? null : count))
export const port = integer(0, 65_535)
/** Milliseconds that a timer of Node can hold. */
export const duration = integer(1, 2_147_483_647)
export const text = z.string()

/** `20/10s`: at most 20 in 10 seconds; 0 means no limit (null). */
export const rate = z
  .string()
  .regex(/^(0|[1-9]\d{0,6}\/[1-9]\d{0,4}s)$/, 'must be COUNT/SECONDSs, such as 20/10s, or 0 for no limit')
  .transform((text) => {
    const [count = 0, seconds = 0] = text.replace('s', '').split('/').map(Number)
    return count === 0 ? null : { limit: count, perMs: seconds * 1_000 }
  })

export const onOff = z
  .enum(['on', 'off', 'true', 'false'], 'must be on or off')
  .transform((value) => value === 'on' || value === 'true')

/** Items separated by commas. */
export const list = z.string().transform((text) => text.split(',').map((item) => item.trim()))

export const host = z
  .string()
  .refine(
    (text) => isIP(text) !== 0 || /^[a-z0-9_][a-z0-9._-]*$/i.test(text),
    'must be a host name or an address, without scheme, port or brackets',
  )

export const hosts = list
  .transform((items) => items.map(toHostname))
  .refine(
    (items) => items.every((item) => item !== undefined),
    'must be host names or addresses without a port, separated by commas',
  )

/** `whsec_…`, or `OWNER=whsec_…`. */
const SIGNING_SECRET = /^(?:(.+)=)?(whsec_[A-Za-z0-9+/]+={0,2})$/

/** Secrets of Standard Webhooks; `owner` null: for all owners without their own secret. */
export const signingSecrets = list
  .transform((items) =>
    items.map((item) => {
      const [, owner = null, secret = ''] = SIGNING_SECRET.exec(item) ?? []
      return { owner, secret }
    }),
  )
  .refine(
    (items) =>
      items.every(({ secret }) => {
        const bytes = Buffer.from(secret.slice('whsec_'.length), 'base64').length
        return bytes >= 24 && bytes <= 64
      }),
    'must be secrets of 24 to 64 bytes in the form whsec_BASE64 or OWNER=whsec_BASE64, separated by commas',
  )

/** `OWNER=3,OTHER=0.5`: numbers from 0.01 to 100. */
export const weights = list.transform((items, context) => {
  const found = items.map((item) => /^(.+)=(\d{1,3}(?:\.\d{1,2})?)$/.exec(item))
  const entries = found.map((match) => [match?.[1] ?? '', Number(match?.[2])] as const)
  const areValid = entries.every(([, weight]) => weight >= 0.01 && weight <= 100)
  if (areValid && new Set(entries.map(([owner]) => owner)).size === items.length) return new Map(entries)
  context.addIssue(
    'must be OWNER=WEIGHT, separated by commas, each owner once, with weights from 0.01 to 100',
  )
  return z.NEVER
})

/** A host as in a URL; undefined if the text is not a host. */
function toHostname(text: string): string | undefined {
  const url = `http://${text}`
  return URL.canParse(url) && new URL(url).host === new URL(url).hostname && !/[/@?#]/.test(text)
    ? new URL(url).hostname
    : undefined
}
