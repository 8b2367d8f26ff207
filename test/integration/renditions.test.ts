import { createHash } from 'node:crypto'
import { readdir, writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
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
  const putBytes = async (bytes: Buffer) => {
    const path = `${folder}/picture`
    await writeFile(path, bytes)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    await store.put(toCopyKey(sha256), { path, byteSize: bytes.length, sha256, contentType: 'image/png' })
    return sha256
  }
  const rest = opened.move()
  return {
    store,
    folder,
    decoder,
    newFile: createTempFiles({ folder: `${folder}/tmp`, clock: systemClock, log: silent }),
    /** Resolves to the hash of these bytes, which are then in the store. */
    putBytes,
    /** Resolves to the hash of a new picture of this size in the store. */
    put: async (width: number, height = width) => putBytes(await drawPng(width, height)),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

const drawPng = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: 'teal' } })
    .png({ compressionLevel: 1 })
    .toBuffer()

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

test('a picture that would be too high for WebP at this width is made narrower', async () => {
  await using opened = await openStore()
  const renditions = createRenditions(opened.store, opened.decoder, opened.newFile)
  const made = await renditions.ensure(await opened.put(512, 32_766), 512)
  const stored = await opened.store.read(made?.key ?? '')
  const { width, height } = await sharp(await buffer(stored?.body ?? Readable.from([]))).metadata()
  expect({ width, height }).toEqual({ width: 256, height: 16_383 })
})

test('damage that the inspection tolerates does not prevent a rendition', async () => {
  await using opened = await openStore()
  const png = await drawPng(300, 300)
  // The checksum of the header.
  png.writeUInt32BE(0, 29)
  const renditions = createRenditions(opened.store, opened.decoder, opened.newFile)
  expect(await renditions.ensure(await opened.putBytes(png), 256)).toBeDefined()
})
