/** How many bytes at the start of a file `toMediaType` needs. */
export const HEAD_BYTES = 4096

const RASTER_TYPES = [
  'image/png',
  'image/jpeg',
  'image/webp',
  'image/avif',
  'image/gif',
  'image/tiff',
] as const
export type RasterType = (typeof RASTER_TYPES)[number]

/** `html` and `text` may be an error page instead of a picture; `other` is any other binary file. */
export type MediaType = RasterType | 'svg' | 'html' | 'text' | 'other'

const SIGNATURES: readonly (readonly [RasterType, RegExp])[] = [
  ['image/png', /^\x89PNG\r\n\x1a\n/],
  ['image/jpeg', /^\xff\xd8\xff/],
  ['image/webp', /^RIFF[^]{4}WEBPVP8[ LX]/],
  ['image/gif', /^GIF8[79]a/],
  ['image/tiff', /^(?:II[*+]\0|MM\0[*+])/],
]

/** The type of a file by its first bytes: signatures of raster formats, else whether it is text. */
export function toMediaType(head: Buffer): MediaType {
  const bytes = head.subarray(0, HEAD_BYTES)
  const text = bytes.toString('latin1')
  const signature = SIGNATURES.find(([, pattern]) => pattern.test(text))
  if (signature !== undefined) return signature[0]
  if (isAvif(bytes)) return 'image/avif'
  if (!isText(text)) return 'other'
  const tag = /<(svg|!doctype svg|!doctype html|html|head|body)\b/i.exec(text)?.[1]?.toLowerCase()
  if (tag === undefined) return 'text'
  return tag.endsWith('svg') ? 'svg' : 'html'
}

export function isRasterType(type: MediaType): type is RasterType {
  return RASTER_TYPES.some((each) => each === type)
}

/** Whether the brands of an ISO media file (its `ftyp` box) include AVIF or its animated form. */
function isAvif(bytes: Buffer): boolean {
  if (bytes.length < 16 || bytes.toString('latin1', 4, 8) !== 'ftyp') return false
  const end = Math.min(bytes.length, bytes.readUInt32BE(0))
  // The major brand, a version, then the compatible brands: four bytes each.
  for (let at = 8; at + 4 <= end; at += 4)
    if (at !== 12 && /^avi[fs]$/.test(bytes.toString('latin1', at, at + 4))) return true
  return false
}

/** Text has no control characters, except in UTF-16, which begins with a byte order mark. */
function isText(text: string): boolean {
  return /^(?:\xff\xfe|\xfe\xff)/.test(text) || !/[\0-\x08\x0e-\x1a\x1c-\x1f]/.test(text)
}
