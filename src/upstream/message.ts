/** The maximum nesting of a message: `error.message`, and one level more. */
const MAX_DEPTH = 3

/** The upstream's message to people, under any of its known keys. */
export function findMessage(body: unknown, depth = 0): string | undefined {
  if (typeof body !== 'object' || body === null || depth > MAX_DEPTH) return undefined
  for (const key of ['msg', 'message', 'description', 'raw_message', 'error'] as const) {
    const value: unknown = Reflect.get(body, key)
    if (typeof value === 'string') return value
    if (typeof value === 'object' && value !== null) return findMessage(value, depth + 1)
  }
  return undefined
}
