/** Characters that the URL parser removes or rewrites. */
const REWRITTEN = /[\s\p{Cc}\\]/u
/**
 * A path segment that all servers read in the same way. Servers may decode percent-encoding, path parameters
 * (`..;x`) and dot segments to a path outside of the folder.
 */
const PLAIN_SEGMENT = /^(?!\.+$)[\w~!$&'()*+,=:@.-]*$/

/** Whether a router's URL is an allowed one, or in the folder of one, however a server decodes the path. */
export function isUnder(text: string, allowed: readonly URL[]): boolean {
  if (!URL.canParse(text) || REWRITTEN.test(text)) return false
  const { origin, pathname, username, password } = new URL(text)
  if (username !== '' || password !== '' || text.includes('#')) return false
  // Differs if the parser has resolved dot segments, also encoded ones.
  const given = /^https?:\/\/[^/?#]+([^?#]*)/i.exec(text)?.[1]
  if (given === undefined || (given !== '' && given !== pathname)) return false
  return allowed.some((url) => {
    if (origin !== url.origin) return false
    const folder = url.pathname.replace(/\/*$/, '/')
    if (!pathname.startsWith(folder)) return pathname === url.pathname
    const segments = pathname.slice(folder.length).split('/')
    return segments.every((segment) => PLAIN_SEGMENT.test(segment))
  })
}
