import { spawnSync } from 'node:child_process'
import { chmod, mkdir, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { openFileStore } from '../../src/results/file-store.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { describeCopyStore, readBytes, writeLocalFile } from './copy-store.ts'

describeCopyStore('The file store', async () => {
  const dir = await openTempDir()
  return {
    open: () => openFileStore(join(dir.path, 'new', 'results')),
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  }
})

/** Files, by their paths below the folder. */
const list = async (folder: string) =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(folder.length + 1))
    .sort()

describe('the file store', () => {
  test('files are found under their keys, and nothing else is left', async () => {
    await using dir = await openTempDir()
    await using local = await openTempDir()
    using store = openFileStore(dir.path)
    await store.put('ab/abc.png', await writeLocalFile(local.path, Buffer.from('one')))
    await store.put('cd/cde.webp', await writeLocalFile(local.path, Buffer.from('two')))
    await expect(
      store.put('ef/efg.png', { path: '/none', byteSize: 1, sha256: '', contentType: '' }),
    ).rejects.toThrow('ENOENT')
    await store.check()
    expect(await list(dir.path)).toEqual(['ab/abc.png', 'cd/cde.webp'])
  })

  test('it has no presigned URLs', async () => {
    await using dir = await openTempDir()
    using store = openFileStore(dir.path)
    const options = { contentType: 'image/png', contentDisposition: null, expiresInS: 60 }
    expect(await store.presign('ab/abc.png', options)).toBeUndefined()
  })

  test('a file that is shorter than its picture is replaced', async () => {
    await using dir = await openTempDir()
    await using local = await openTempDir()
    using store = openFileStore(dir.path)
    await mkdir(join(dir.path, 'ab'))
    await writeFile(join(dir.path, 'ab', 'abc.png'), 'pic')
    await store.put('ab/abc.png', await writeLocalFile(local.path, Buffer.from('picture')))
    expect(await readBytes(store, 'ab/abc.png')).toEqual(Buffer.from('picture'))
  })

  test('temporary files of killed processes are deleted; those of running processes and copies are not', async () => {
    await using dir = await openTempDir()
    await mkdir(join(dir.path, 'ab'))
    const old = new Date(Date.now() - 61 * 60 * 1_000)
    const leftovers = Array.from({ length: 200 }, (_, index) => `ab/old.png~${index}`)
    for (const path of [...leftovers, 'ab/new.png~1', 'ab/old.png', 'note~'])
      await writeFile(join(dir.path, path), '')
    for (const path of [...leftovers, 'ab/old.png', 'note~']) await utimes(join(dir.path, path), old, old)
    using store = openFileStore(dir.path)
    await store.check()
    expect(await list(dir.path)).toEqual(['ab/new.png~1', 'ab/old.png', 'note~'])
  })

  test('the check names the folder, the reason and the remedy if the path is not a folder', async () => {
    await using dir = await openTempDir()
    const path = join(dir.path, 'file')
    await writeFile(path, '')
    using store = openFileStore(path)
    await expect(store.check()).rejects.toThrow(
      new RegExp(
        `^The folder "${path}" cannot store copies \\(ENOTDIR.*\\): make it writable for this service`,
      ),
    )
  })

  test('the check rejects if the folder is not writable', async () => {
    await using dir = await openTempDir()
    await chmod(dir.path, 0o500)
    // Root may write anywhere, except to the files of the kernel.
    const path = process.getuid?.() === 0 ? '/sys/results' : join(dir.path, 'results')
    using store = openFileStore(path)
    await expect(store.check()).rejects.toThrow(/cannot store copies \(E(ACCES|PERM|ROFS)/)
  })

  test('a local file on another file system can be stored', async () => {
    await using dir = await openTempDir()
    const isShared = spawnSync('test', ['-w', '/dev/shm']).status === 0
    await using local = await openTempDir(isShared ? '/dev/shm' : undefined)
    using store = openFileStore(dir.path)
    await store.put('ab/abc.png', await writeLocalFile(local.path, Buffer.from('picture')))
    expect(await readBytes(store, 'ab/abc.png')).toEqual(Buffer.from('picture'))
  })
})
