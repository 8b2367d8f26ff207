/** The widths of smaller versions, in pixels. */
export const RENDITION_WIDTHS: readonly number[] = [256, 512, 1024, 2048]

/** The key of a copy: equal bytes have the same key. */
export function toCopyKey(sha256: string): string {
  return `${sha256.slice(0, 2)}/${sha256}`
}

/** The key of a smaller version of a copy. */
export function toRenditionKey(sha256: string, width: number): string {
  return `${toCopyKey(sha256)}-${width}.webp`
}

/** All keys that may exist for a copy. */
export function toAllKeys(sha256: string): string[] {
  return [toCopyKey(sha256), ...RENDITION_WIDTHS.map((width) => toRenditionKey(sha256, width))]
}
