import type { Result } from '../tasks/engines/engine-ports.ts'
import { parseJson } from './json.ts'

/** The maximum nesting of a result: text, object, list, item, and one level more. */
const MAX_DEPTH = 5
/**
 * An upscale has one image, a generation four. Every event contains all images, so their number is limited.
 */
const MAX_IMAGES = 16
/** Signed URLs of object stores have about 2,000 characters at most. */
const MAX_URL_LENGTH = 4_096

/** The usable URLs of a result, each once and in order, and how many others were dropped. */
export function parseResult(result: unknown): Result {
  const all = collectUrls(result, 0).map(toImageUrl)
  const usable = all.filter((url) => url !== undefined)
  const urls = [...new Set(usable)]
  const imageUrls = urls.slice(0, MAX_IMAGES)
  const dropped = all.length - usable.length + urls.length - imageUrls.length
  return { imageUrls, ...(dropped > 0 && { dropped }) }
}

/** The pictures of a generation by their position, null for each that has no usable URL. */
export function parsePositions(result: unknown, depth = 0): (string | null)[] {
  if (depth > MAX_DEPTH || result === '') return []
  if (typeof result === 'string') {
    const parsed = parseJson(result)
    return parsed === undefined ? [toImageUrl(result) ?? null] : parsePositions(parsed, depth + 1)
  }
  if (!Array.isArray(result)) return parsePositions(findUrls(result) ?? '', depth + 1)
  return result.slice(0, MAX_IMAGES).map((item) => {
    const [url = '', ...others] = collectUrls(item, depth + 1)
    return others.length > 0 ? null : (toImageUrl(url) ?? null)
  })
}

/** The URLs of a result in any known shape: object, JSON text, list, or one URL. */
function collectUrls(result: unknown, depth: number): string[] {
  if (depth > MAX_DEPTH || result === '') return []
  if (typeof result === 'string') {
    const parsed = parseJson(result)
    return parsed === undefined ? [result] : collectUrls(parsed, depth + 1)
  }
  if (Array.isArray(result)) return result.flatMap((item) => collectUrls(item, depth + 1))
  return collectUrls(findUrls(result) ?? '', depth + 1)
}

/** The URLs in an object, under any of their known keys. */
function findUrls(result: unknown): unknown {
  if (typeof result !== 'object' || result === null) return undefined
  for (const key of ['resultUrls', 'result_urls', 'resultUrl'])
    if (Object.hasOwn(result, key)) {
      const value: unknown = Reflect.get(result, key)
      if (value) return value
    }
  return undefined
}

/** An absolute http(s) URL without user info and of bounded length; undefined for any other text. */
function toImageUrl(text: string): string | undefined {
  if (text.length > MAX_URL_LENGTH || !URL.canParse(text)) return undefined
  const { protocol, username, password, href } = new URL(text)
  const isWeb = protocol === 'https:' || protocol === 'http:'
  return isWeb && username === '' && password === '' && href.length <= MAX_URL_LENGTH ? href : undefined
}
