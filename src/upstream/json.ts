/**
 * Parses JSON; undefined if the text is not JSON. An integer that a number cannot hold exactly becomes a string of its
 * digits.
 */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text, keepDigits)
  } catch {
    return undefined
  }
}

/** A task id of 20 digits must not be rounded. */
function keepDigits(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  const isInexact = typeof value === 'number' && !Number.isSafeInteger(value)
  const source = context?.source ?? ''
  return isInexact && /^-?\d+$/.test(source) ? source : value
}
