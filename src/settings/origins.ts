import { isWeb } from './urls.ts'
import { list } from './values.ts'

/** Origins of pages, as browsers send them. */
export const origins = list.transform((items, context) =>
  items.flatMap((item) => {
    const parsed = parseOrigin(item)
    if ('origin' in parsed) return [parsed.origin]
    context.addIssue(parsed.fault)
    return []
  }),
)

/** Parses an origin as browsers send it; `fault` is the reason why it is invalid. */
function parseOrigin(text: string): { readonly origin: string } | { readonly fault: string } {
  if (text === '') return { fault: 'must not be empty: remove the comma' }
  const fail = (what: string) => ({ fault: `${JSON.stringify(text)} ${what}` })
  if (text === 'null')
    return fail('is the origin of every sandboxed frame and local file: name an origin of your own')
  if (text.includes('*')) return fail('must not contain a wildcard: list each origin')
  if (text.includes('@')) return { fault: 'must not contain a user name' }
  const [, scheme, rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(text) ?? []
  if (scheme === undefined) return fail('must begin with a scheme, such as https://')
  if (/^wss?$/i.test(scheme)) return fail('must be the origin of the page (http or https), not of the socket')
  if (rest === '') return fail('must name a host')
  if (/^[^/]+\/$/.test(rest)) return fail('must not end with a slash')
  if (/[/\\?#]/.test(rest)) return fail('must not have a path, a query or a fragment')
  if (!URL.canParse(text) || /\s/.test(text)) return fail('is not an origin such as https://app.example.com')
  const url = new URL(text)
  // A browser sends international names in Punycode, and no default port; `URL.origin` is "null" for schemes
  // of apps.
  return { origin: `${url.protocol}//${isWeb(url) ? url.host : rest}` }
}
