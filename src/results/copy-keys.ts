/** The widths of renditions, in pixels. */
export const RENDITION_WIDTHS: readonly number[] = [256, 512, 1024, 2048]

/** The key of a copy: equal bytes have the same key. */
export function toCopyKey(sha256: string): string {
  return `${sha256.slice(0, 2)}/${sha256}`
}

/** The key of a rendition of a copy. */
export function toRenditionKey(sha256: string, width: number): string {
  return `${toCopyKey(sha256)}-${width}.webp`
}

/** The keys of a copy and of all its possible renditions. */
export function toAllKeys(sha256: string): string[] {
  return [toCopyKey(sha256), ...RENDITION_WIDTHS.map((width) => toRenditionKey(sha256, width))]
}
