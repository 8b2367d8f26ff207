/** Schemes whose hosts and default ports have one spelling. */
const WEB = /^https?:$/

/** Parses an origin as browsers send it; `fault` is the reason why it is invalid. */
export function parseOrigin(text: string): { readonly origin: string } | { readonly fault: string } {
  if (text === '') return { fault: 'must not be empty: remove the comma' }
  const value = JSON.stringify(text)
  const fail = (what: string) => ({ fault: `${value} ${what}` })
  if (text === 'null')
    return fail('is what every sandboxed frame and local file sends: name an origin of your own')
  if (text.includes('*')) return fail('must not hold a wildcard: list each origin')
  if (text.includes('@')) return { fault: 'must not hold a user name' }
  const [, scheme, rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(text) ?? []
  if (scheme === undefined) return fail('must begin with a scheme, such as https://')
  if (/^wss?$/i.test(scheme)) return fail('must be the origin of the page (http or https), not of the socket')
  if (rest === '') return fail('must name a host')
  if (/^[^/]+\/$/.test(rest)) return fail('must not end with a slash')
  if (/[/\\?#]/.test(rest)) return fail('must not have a path, a query or a fragment')
  if (!URL.canParse(text) || /\s/.test(text)) return fail('is not an origin such as https://app.example.com')
  const { protocol, host } = new URL(text)
  // A browser sends international names in Punycode, and no default port; `URL.origin` is "null" for schemes of apps.
  return { origin: `${protocol}//${WEB.test(protocol) ? host : rest}` }
}
