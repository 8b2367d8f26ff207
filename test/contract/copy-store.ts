import { createHash, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { ByteRange, CopyStore, LocalFile } from '../../src/results/copy-store.ts'
import { openTempDir } from '../support/temp-dir.ts'

/** Opens a store on the same, at first empty, place each time it is called within one test. */
export type OpenCopyStore = () => CopyStore

/** A file with these bytes in a folder. */
export async function writeLocalFile(folder: string, bytes: Buffer): Promise<LocalFile> {
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const path = join(folder, sha256)
  await writeFile(path, bytes)
  return { path, byteSize: bytes.length, sha256, contentType: 'image/png' }
}

export async function readBytes(
  store: CopyStore,
  key: string,
  range?: ByteRange,
): Promise<Buffer | undefined> {
  const stored = await store.read(key, range)
  return stored === undefined ? undefined : await buffer(stored.body)
}

/** What every CopyStore must do; `setUp` gives a way to open one on a fresh place. */
export function describeCopyStore(
  name: string,
  setUp: () => Promise<AsyncDisposable & { readonly open: OpenCopyStore }>,
): void {
  describe(`${name} is a CopyStore`, () => {
    let dir: Awaited<ReturnType<typeof openTempDir>>
    let place: Awaited<ReturnType<typeof setUp>>
    let store: CopyStore

    beforeAll(async () => {
      dir = await openTempDir()
    })
    afterAll(async () => {
      await dir[Symbol.asyncDispose]()
    })
    beforeEach(async () => {
      place = await setUp()
      store = place.open()
    })
    afterEach(async () => {
      store[Symbol.dispose]()
      await place[Symbol.asyncDispose]()
    })

    const KEY = 'ab/abcdef.png'
    const put = async (bytes: Buffer, key = KEY) => store.put(key, await writeLocalFile(dir.path, bytes))

    test('a file is read as it was put, with its size', async () => {
      const bytes = randomBytes(300_000)
      await put(bytes)
      const stored = await store.read(KEY)
      expect(stored?.byteSize).toBe(300_000)
      expect(stored && (await buffer(stored.body)).equals(bytes)).toBe(true)
    })

    test('a file survives closing and opening the store', async () => {
      await put(Buffer.from('picture'))
      store[Symbol.dispose]()
      store = place.open()
      expect(await readBytes(store, KEY)).toEqual(Buffer.from('picture'))
    })

    test('a file of 60 MiB is stored, and never readable in part', async () => {
      const bytes = Buffer.alloc(60 * 1024 * 1024, randomBytes(1_031))
      const progress = { isStored: false }
      const stored = put(bytes).finally(() => (progress.isStored = true))
      const sizes = new Set<number | undefined>()
      while (!progress.isStored) {
        const early = await store.read(KEY)
        early?.body.destroy()
        sizes.add(early?.byteSize)
      }
      await stored
      expect([undefined, bytes.length]).toEqual(expect.arrayContaining([...sizes]))
      const hash = createHash('sha256')
      for await (const chunk of (await store.read(KEY))?.body ?? []) hash.update(chunk as Buffer)
      expect(hash.digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'))
    })

    test('put does not move the local file', async () => {
      const bytes = Buffer.from('picture')
      const file = await writeLocalFile(dir.path, bytes)
      await store.put(KEY, file)
      await writeFile(file.path, 'another')
      expect(await readBytes(store, KEY)).toEqual(bytes)
    })

    test('ranges give their bytes, and the size of the whole file', async () => {
      await put(Buffer.from('0123456789'))
      for (const [start, end, expected] of [
        [0, 0, '0'],
        [0, 3, '0123'],
        [4, 6, '456'],
        [9, 9, '9'],
        [0, 9, '0123456789'],
      ] as const) {
        const stored = await store.read(KEY, { start, end })
        expect(stored?.byteSize).toBe(10)
        expect(stored && (await buffer(stored.body)).toString()).toBe(expected)
      }
    })

    test('a range outside of the file is refused', async () => {
      await put(Buffer.from('0123456789'))
      for (const range of [
        { start: 10, end: 12 },
        { start: 8, end: 12 },
      ])
        await expect(store.read(KEY, range)).rejects.toThrow(/range/i)
    })

    test('a key without a file gives undefined', async () => {
      await put(Buffer.from('picture'))
      expect(await store.read('ab/abcdef.webp')).toBeUndefined()
      expect(await store.read('cd/abcdef.png', { start: 0, end: 1 })).toBeUndefined()
    })

    test('a second file under a key has no effect', async () => {
      await put(Buffer.from('first'))
      await put(Buffer.from('other'))
      expect(await readBytes(store, KEY)).toEqual(Buffer.from('first'))
    })

    test('concurrent puts of one key leave one whole file', async () => {
      const bytes = randomBytes(200_000)
      const file = await writeLocalFile(dir.path, bytes)
      await Promise.all(Array.from({ length: 8 }, () => store.put(KEY, file)))
      expect((await readBytes(store, KEY))?.equals(bytes)).toBe(true)
    })

    test('a reader that has begun gets the whole file, even if it is removed meanwhile', async () => {
      const bytes = randomBytes(100_000)
      await put(bytes)
      const stored = await store.read(KEY)
      await store.remove([KEY])
      expect(stored && (await buffer(stored.body)).equals(bytes)).toBe(true)
    })

    test('a reader that is destroyed early does not disturb the next', async () => {
      const bytes = randomBytes(3_000_000)
      await put(bytes)
      for (let i = 0; i < 5; i++) (await store.read(KEY))?.body.destroy()
      expect((await readBytes(store, KEY))?.equals(bytes)).toBe(true)
    })

    test('removed files are gone, and others stay; missing ones are ignored', async () => {
      await put(Buffer.from('one'), 'ab/one.png')
      await put(Buffer.from('two'), 'ab/two.png')
      await put(Buffer.from('three'), 'cd/three.png')
      await store.remove(['ab/one.png', 'ab/none.png', 'ef/none.png', 'cd/three.png'])
      await store.remove([])
      expect(await store.read('ab/one.png')).toBeUndefined()
      expect(await store.read('cd/three.png')).toBeUndefined()
      expect(await readBytes(store, 'ab/two.png')).toEqual(Buffer.from('two'))
      await put(Buffer.from('once more'), 'ab/one.png')
      expect(await readBytes(store, 'ab/one.png')).toEqual(Buffer.from('once more'))
    })

    test('a put that was aborted before it began stores nothing', async () => {
      const file = await writeLocalFile(dir.path, Buffer.from('picture'))
      const reason = new Error('the lease was lost')
      await expect(store.put(KEY, file, AbortSignal.abort(reason))).rejects.toBe(reason)
      expect(await store.read(KEY)).toBeUndefined()
    })

    test('a put of a local file that is missing is refused, and stores nothing', async () => {
      const file = await writeLocalFile(dir.path, Buffer.from('picture'))
      await expect(store.put(KEY, { ...file, path: `${file.path}.none` })).rejects.toThrow('ENOENT')
      expect(await store.read(KEY)).toBeUndefined()
    })

    test('a key that is not FOLDER/NAME is refused', async () => {
      const file = await writeLocalFile(dir.path, Buffer.from('picture'))
      const presigned = { contentType: 'image/png', contentDisposition: null, expiresInS: 60 }
      for (const key of [
        'abcdef.png',
        '/abcdef.png',
        'ab/',
        'ab/.',
        'ab/..',
        '../abcdef.png',
        '../../etc/passwd',
        'ab/cd/ef.png',
        'ab/a b.png',
        'ab/a..png',
        'ab/abcdef.png~1',
        'ab/abc\u0000',
        'ab/abc?x',
        'ab/abc\n',
      ]) {
        for (const call of [
          () => store.put(key, file),
          () => store.read(key),
          () => store.remove([KEY, key]),
          () => store.presign(key, presigned),
        ])
          await expect(call()).rejects.toThrow(`${JSON.stringify(key)} is not the key of a copy`)
      }
    })

    test('the check passes, also a second time', async () => {
      await store.check()
      await store.check()
    })
  })
}
