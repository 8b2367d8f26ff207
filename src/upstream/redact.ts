/**
 * Replaces every secret in a text, also where secrets overlap, and then every URL. Empty secrets are ignored.
 */
export function redact(text: string, secrets: readonly string[]): string {
  const spans = secrets.flatMap((secret) => findSpans(text, secret)).sort(([a], [b]) => a - b)
  let [redacted, end] = ['', 0]
  for (const [from, to] of spans) {
    // A span that begins inside the previous one extends it.
    if (from >= end) redacted += `${text.slice(end, from)}[redacted]`
    end = Math.max(end, to)
  }
  return (redacted + text.slice(end)).replaceAll(/https?:\/\/\S+/g, '[url]')
}

/** The start and end of each occurrence of a secret in a text. */
function findSpans(text: string, secret: string): [number, number][] {
  const spans: [number, number][] = []
  if (secret === '') return spans
  for (let at = text.indexOf(secret); at >= 0; at = text.indexOf(secret, at + 1))
    spans.push([at, at + secret.length])
  return spans
}
