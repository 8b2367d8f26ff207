export const JSON_TYPE = 'application/json'
/** The media type of GraphQL over HTTP. Apollo Client reads `extensions` of error responses only in this one. */
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
