/** The facts of a picture, as the demo prints them. */
import type { PictureFragment } from '../test/generated/operations.ts'

const EXTENSIONS: Record<string, string> = {
  'image/jpeg': 'jpg',
  'image/webp': 'webp',
  'image/avif': 'avif',
  'image/gif': 'gif',
  'image/tiff': 'tiff',
}
const CREDENTIALS = { PRESENT: 'with Content Credentials (C2PA)', NONE: 'no Content Credentials (C2PA)' }
const COPIES = {
  KEPT: 'kept by the service',
  PENDING: 'not kept yet: the service retries',
  LOST: 'not kept: the service could not make a copy',
  OFF: 'not kept: RESULT_STORE of the service is off',
}

/** The extension of its file name. */
export function toExtension({ contentType }: PictureFragment): string {
  return EXTENSIONS[contentType ?? ''] ?? 'png'
}

/** The known facts of a picture, by name. */
export function toFacts(picture: PictureFragment): Record<string, string> {
  const { width, height, byteSize, contentType, enlargement, provenance } = picture
  const facts = {
    Size: width && height ? `${width} × ${height} pixels` : null,
    Enlarged: enlargement === null ? null : `${enlargement.toFixed(2)} times`,
    File: contentType && `${contentType}, ${byteSize?.toLocaleString('en')} bytes`,
    'SHA-256': picture.sha256,
    ThumbHash: picture.thumbhash && `${picture.thumbhash} (a placeholder until it is loaded)`,
    Origin: provenance && CREDENTIALS[provenance],
    Copy: COPIES[picture.copyState],
    Link: picture.url,
    Expires: picture.expiresAt ?? 'never',
  }
  const known = Object.entries(facts).filter((entry): entry is [string, string] => Boolean(entry[1]))
  return Object.fromEntries(known)
}
