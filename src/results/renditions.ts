import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import type { CopyStore } from './copy-store.ts'
import { toCopyKey, toRenditionKey } from './copy-keys.ts'
import type { NewTempFile } from './temp-files.ts'

export const RENDITION_TYPE = 'image/webp'
/** As for downloads. */
const MAX_PIXELS = 100_000_000
/** The limit of WebP, in pixels: a picture that is still higher at its width is made narrower. */
const MAX_HEIGHT = 16_383

/** A smaller version in the store. */
interface Rendition {
  readonly key: string
  readonly byteSize: number
}

/** Makes smaller versions of copies, each once. */
export interface Renditions {
  /** Makes the version of this width, if it does not exist. Undefined: there is no such copy. */
  ensure(sha256: string, width: number): Promise<Rendition | undefined>
}

export function createRenditions(copies: CopyStore, newFile: NewTempFile): Renditions {
  const running = new Map<string, Promise<Rendition | undefined>>()
  // One at a time: each decodes a whole picture.
  let last: Promise<unknown> = Promise.resolve()
  return {
    async ensure(sha256, width) {
      const key = toRenditionKey(sha256, width)
      const existing = running.get(key)
      if (existing !== undefined) return existing
      const found = findStored(copies, key).then((stored) => {
        if (stored !== undefined) return stored
        const made = last.then(() => make(copies, { sha256, width, key }, newFile))
        last = made.catch(() => undefined)
        return made
      })
      running.set(key, found)
      try {
        return await found
      } finally {
        running.delete(key)
      }
    },
  }
}

interface Order {
  readonly sha256: string
  readonly width: number
  readonly key: string
}

async function findStored(copies: CopyStore, key: string): Promise<Rendition | undefined> {
  const stored = await copies.read(key, { start: 0, end: 0 })
  stored?.body.destroy()
  return stored && { key, byteSize: stored.byteSize }
}

async function make(
  copies: CopyStore,
  { sha256, width, key }: Order,
  newFile: NewTempFile,
): Promise<Rendition | undefined> {
  const original = await copies.read(toCopyKey(sha256))
  if (original === undefined) return undefined
  const { default: sharp } = await import('sharp')
  // The inspection has accepted the bytes: damage that it tolerates, such as a wrong checksum, is no reason to fail.
  const resize = sharp({ limitInputPixels: MAX_PIXELS, failOn: 'none' })
    .autoOrient()
    .resize({ width, height: MAX_HEIGHT, fit: 'inside', withoutEnlargement: true })
    .webp()
  const [bytes] = await Promise.all([resize.toBuffer(), pipeline(original.body, resize)])
  await using file = await newFile()
  await writeFile(file.path, bytes, { mode: 0o600 })
  const hash = createHash('sha256').update(bytes).digest('hex')
  const facts = { byteSize: bytes.length, sha256: hash, contentType: RENDITION_TYPE }
  await copies.put(key, { ...facts, path: file.path })
  // The copy was deleted meanwhile: its smaller versions had gone before this one was there.
  if ((await findStored(copies, toCopyKey(sha256))) === undefined) {
    await copies.remove([key])
    return undefined
  }
  return { key, byteSize: bytes.length }
}
