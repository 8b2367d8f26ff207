export const JSON_TYPE = 'application/json'
/**
 * The media type of GraphQL over HTTP. Apollo Client reads `extensions` of error responses only in this one.
 */
const GRAPHQL_TYPE = 'application/graphql-response+json'

/** The type that an Accept header prefers: the higher q, then the first. JSON if it names neither. */
export function toPreferredType(accept = ''): string {
  let preferred = { type: JSON_TYPE, q: 0 }
  for (const range of accept.toLowerCase().split(',')) {
    const [name, ...parameters] = range.split(';').map((part) => part.trim())
    const type = name === GRAPHQL_TYPE ? GRAPHQL_TYPE : JSON_TYPE
    if (name !== type && name !== '*/*' && name !== 'application/*') continue
    const q = Number(parameters.find((parameter) => parameter.startsWith('q='))?.slice(2) ?? 1)
    if (q > preferred.q) preferred = { type, q }
  }
  return preferred.type
}

/**
 * The q of the first of these names that an Accept header or an Accept-Encoding header has; 0: it has none of
 * them.
 */
export function toQuality(accept: string, names: readonly string[]): number {
  const ranges = accept
    .toLowerCase()
    .split(',')
    .map((range) => range.split(';').map((part) => part.trim()))
  const found = names.map((name) => ranges.find(([range]) => range === name)).find((range) => range)
  if (found === undefined) return 0
  return Number(found.find((part) => part.startsWith('q='))?.slice(2) ?? 1)
}

/** Whether an Accept header prefers a page to JSON, as those of browsers do. */
export function prefersHtml(accept = ''): boolean {
  const html = toQuality(accept, ['text/html'])
  return html > 0 && html >= toQuality(accept, [JSON_TYPE, GRAPHQL_TYPE])
}
