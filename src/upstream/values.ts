/** Values that several upstreams send, parsed leniently. */
import * as z from 'zod'

/** An integer that fits GraphQL's Int, also as a string. */
export const integerLike = z.union([
  z.int32(),
  z
    .string()
    .regex(/^-?\d{1,9}$/)
    .transform(Number),
])

/**
 * An upstream task id: text with a letter or digit, without control characters or unpaired surrogates; or an
 * exact integer. An id of blanks would never equal that of a callback.
 */
export const upstreamId = z.union([
  // Not `max`: it compares `length` of objects too, and throws if that has no primitive value.
  z.string().regex(/^(?=.*[\p{L}\p{N}])[^\p{Cc}\p{Cs}]{1,256}$/u),
  z.int().transform(String),
])

/** A larger amount is a fault of the upstream. */
const MAX_CREDITS = 1_000_000

/** The credits that a task cost, if the upstream reports a plausible number. */
export function toConsumption(reported: unknown): { readonly creditsConsumed?: number } {
  const isText = typeof reported === 'string' && /^\d{1,7}(\.\d{1,6})?$/.test(reported)
  const credits = isText ? Number(reported) : reported
  const isAmount = typeof credits === 'number' && credits >= 0 && credits <= MAX_CREDITS
  return isAmount ? { creditsConsumed: credits } : {}
}
