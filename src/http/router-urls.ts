/** What the URL parser drops or rewrites: white space, control characters, backslashes. */
const REWRITTEN = /[\s\p{Cc}\\]/u
/**
 * A path segment that every server reads in the same way. Servers may decode percent-encoding, path parameters (`..;x`)
 * and dot segments to a path outside of the folder.
 */
const PLAIN_SEGMENT = /^(?!\.+$)[\w~!$&'()*+,=:@.-]*$/

/** Whether a router's URL is one of the allowed ones, or lies in the folder of one, however the router's server reads it. */
export function isUnder(text: string, allowed: readonly URL[]): boolean {
  if (!URL.canParse(text) || REWRITTEN.test(text)) return false
  const { origin, pathname, username, password } = new URL(text)
  if (username !== '' || password !== '' || text.includes('#')) return false
  // The parser has resolved dot segments, also encoded ones: then the path is not the one that was given.
  const given = /^https?:\/\/[^/?#]+([^?#]*)/i.exec(text)?.[1]
  if (given === undefined || (given !== '' && given !== pathname)) return false
  return allowed.some((each) => {
    if (origin !== each.origin) return false
    const folder = each.pathname.replace(/\/*$/, '/')
    if (!pathname.startsWith(folder)) return pathname === each.pathname
    return pathname
      .slice(folder.length)
      .split('/')
      .every((segment) => PLAIN_SEGMENT.test(segment))
  })
}

/** One key for all spellings of a URL. */
export const toKey = (url: string) => new URL(url).href
