import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createSequence } from '../tasks/timing.ts'
import type { CopyStore } from './copy-store.ts'
import { toCopyKey, toRenditionKey } from './copy-keys.ts'
import type { Shrinker } from './picture-process.ts'
import type { NewTempFile } from './temp-files.ts'

export const RENDITION_TYPE = 'image/webp'

interface Rendition {
  readonly key: string
  readonly byteSize: number
}

/** Makes renditions (smaller WebPs) of copies, each once. */
export interface Renditions {
  /** Makes the rendition of this width if it does not exist. Undefined: there is no such copy. */
  ensure(sha256: string, width: number): Promise<Rendition | undefined>
}

export function createRenditions(copies: CopyStore, shrinker: Shrinker, newFile: NewTempFile): Renditions {
  const running = new Map<string, Promise<Rendition | undefined>>()
  // One at a time: each has a whole picture on the disk.
  const inSequence = createSequence()
  return {
    async ensure(sha256, width) {
      const key = toRenditionKey(sha256, width)
      const existing = running.get(key)
      if (existing !== undefined) return existing
      const found = findStored(copies, key).then((stored) => {
        if (stored !== undefined) return stored
        return inSequence(() => make({ copies, shrinker, newFile }, { sha256, width, key }))
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

interface Tools {
  readonly copies: CopyStore
  readonly shrinker: Shrinker
  readonly newFile: NewTempFile
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
  { copies, shrinker, newFile }: Tools,
  { sha256, width, key }: Order,
): Promise<Rendition | undefined> {
  const original = await copies.read(toCopyKey(sha256))
  if (original === undefined) return undefined
  await using from = await newFile()
  await pipeline(original.body, createWriteStream(from.path, { mode: 0o600 }))
  await using to = await newFile()
  const byteSize = await shrinker.shrink(from.path, to.path, width)
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(to.path)) hash.update(chunk as Buffer)
  const facts = { byteSize, sha256: hash.digest('hex'), contentType: RENDITION_TYPE }
  await copies.put(key, { ...facts, path: to.path })
  // The copy was deleted meanwhile, and its renditions with it, before this one was stored.
  if ((await findStored(copies, toCopyKey(sha256))) === undefined) {
    await copies.remove([key])
    return undefined
  }
  return { key, byteSize }
}
