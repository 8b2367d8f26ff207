/** Values that several upstreams send, parsed leniently. */
import { z } from 'zod'

/** An integer that fits GraphQL's Int, also as a string. */
export const integerLike = z.union([
  z.int32(),
  z
    .string()
    .regex(/^-?\d{1,9}$/)
    .transform(Number),
])

/**
 * An upstream task id: text with a letter or digit, without control characters or unpaired surrogates; or an exact integer. An id
 * of blanks would never equal that of a callback.
 */
export const upstreamId = z.union([
  z
    .string()
    .max(256)
    .regex(/^(?=.*[\p{L}\p{N}])[^\p{Cc}\p{Cs}]+$/u),
  z.int().transform(String),
])
