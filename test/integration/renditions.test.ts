import { createHash } from 'node:crypto'
import { readdir, writeFile } from 'node:fs/promises'
import { expect, test } from '@jest/globals'
import sharp from 'sharp'
import { toAllKeys, toCopyKey } from '../../src/results/copy-keys.ts'
import { createDecoder } from '../../src/results/decode.ts'
import { openFileStore } from '../../src/results/file-store.ts'
import { createRenditions } from '../../src/results/renditions.ts'
import { createTempFiles } from '../../src/results/temp-files.ts'
import { systemClock } from '../../src/system.ts'
import { openTempDir } from '../support/temp-dir.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

/** A store in a folder, and a way to put drawn pictures into it. */
async function openStore() {
  await using opened = new AsyncDisposableStack()
  const { path: folder } = opened.use(await openTempDir())
  const store = opened.use(openFileStore(`${folder}/store`))
  const decoder = createDecoder(silent)
  const rest = opened.move()
  return {
    store,
    folder,
    decoder,
    newFile: createTempFiles({ folder: `${folder}/tmp`, clock: systemClock, log: silent }),
    /** Resolves to the hash of a new picture of this size in the store. */
    async put(size: number): Promise<string> {
      const path = `${folder}/${size}.png`
      const drawn = sharp({ create: { width: size, height: size, channels: 3, background: 'teal' } })
      const bytes = await drawn.png({ compressionLevel: 1 }).toBuffer()
      await writeFile(path, bytes)
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      await store.put(toCopyKey(sha256), { path, byteSize: bytes.length, sha256, contentType: 'image/png' })
      return sha256
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

test('a rendition that exists does not wait for another one that is being made', async () => {
  await using opened = await openStore()
  const [small, large] = [await opened.put(300), await opened.put(6_000)]
  const renditions = createRenditions(opened.store, opened.decoder, opened.newFile)
  const made = await renditions.ensure(small, 256)
  const order: string[] = []
  const slow = renditions.ensure(large, 2048).then(() => order.push('made'))
  const quick = renditions.ensure(small, 256).then((found) => {
    order.push('found')
    return found
  })
  expect(await quick).toEqual(made)
  await slow
  expect(order).toEqual(['found', 'made'])
})

test('a rendition of a copy that is deleted meanwhile is deleted, too', async () => {
  await using opened = await openStore()
  const { store, folder, decoder, newFile } = opened
  const sha256 = await opened.put(300)
  const renditions = createRenditions(
    {
      ...store,
      async put(key, file) {
        await store.remove(toAllKeys(sha256))
        await store.put(key, file)
      },
    },
    decoder,
    newFile,
  )
  expect(await renditions.ensure(sha256, 256)).toBeUndefined()
  expect(await readdir(`${folder}/store/${sha256.slice(0, 2)}`)).toEqual([])
  expect(await readdir(`${folder}/tmp`)).toEqual([])
})
