import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { checkKey, checkRange, type ByteRange, type CopyStore, type StoredFile } from './copy-store.ts'

/** `put` takes seconds, so an older temporary file is that of a killed process. */
const TEMPORARY_FOR_MS = 60 * 60 * 1_000

/**
 * Stores copies as files in a folder, which processes may share. Opening starts to delete the temporary files
 * of killed processes; `check` waits for that.
 */
export function openFileStore(folder: string): CopyStore {
  const root = resolve(folder)
  const disposed = new AbortController()
  const swept = deleteLeftovers(root, disposed.signal)
  // `check` reports the error.
  swept.catch(() => undefined)
  return {
    async put(key, file, signal) {
      const path = toPath(root, key)
      // FICLONE shares the blocks where the file system can, and copies them elsewhere.
      const write = (to: string) => copyFile(file.path, to, constants.COPYFILE_FICLONE)
      if ((await readSize(path)) !== file.byteSize) await writeDurably(path, write, signal)
      // Also if the file exists: another process may have written it and not yet have flushed the folders.
      await syncFolders(root, path)
    },
    read: async (key, range) => readStored(toPath(root, key), range),
    async remove(keys) {
      const paths = keys.map((key) => toPath(root, key))
      for (const path of paths) await rm(path, { force: true })
    },
    presign: (key) => Promise.try(() => void toPath(root, key)),
    async check() {
      try {
        await swept
        await probe(root)
      } catch (error) {
        const reason = String(error).replace(/^Error: /, '')
        throw new Error(
          `The folder ${JSON.stringify(root)} cannot store copies (${reason}): make it writable for this service, with free space, or choose another folder`,
          { cause: error },
        )
      }
    },
    [Symbol.dispose]: () => disposed.abort(),
  }
}

function toPath(root: string, key: string): string {
  checkKey(key)
  return join(root, key)
}

/** Writes a temporary file in the same folder, flushes it to the disk, and renames it. */
async function writeDurably(
  path: string,
  write: (to: string) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const temporary = `${path}~${randomUUID()}`
  try {
    signal?.throwIfAborted()
    await write(temporary)
    await sync(temporary)
    signal?.throwIfAborted()
    await rename(temporary, path)
  } finally {
    await rm(temporary, { force: true })
  }
}

/** Makes the entry of a file and of its folder durable. */
async function syncFolders(root: string, path: string): Promise<void> {
  await sync(dirname(path))
  await sync(root)
}

async function sync(path: string): Promise<void> {
  await using handle = await open(path)
  await handle.sync()
}

async function readStored(path: string, range?: ByteRange): Promise<StoredFile | undefined> {
  const handle = await open(path).catch(ignoreMissing)
  if (handle === undefined) return undefined
  try {
    const { size } = await handle.stat()
    if (range !== undefined) checkRange(range, size)
    // The end of the stream, or its destruction, closes the handle.
    return { body: handle.createReadStream(range), byteSize: size }
  } catch (error) {
    await handle.close()
    throw error
  }
}

async function readSize(path: string): Promise<number | undefined> {
  return (await stat(path).catch(ignoreMissing))?.size
}

/** Writes, reads and deletes a file. */
async function probe(root: string): Promise<void> {
  const text = randomUUID()
  const path = join(root, 'probe', text)
  try {
    await writeDurably(path, (to) => writeFile(to, text))
    await syncFolders(root, path)
    if ((await readFile(path, 'utf8')) !== text) throw new Error('a file has other content than was written')
  } finally {
    await rm(path, { force: true })
  }
}

async function deleteLeftovers(root: string, signal: AbortSignal): Promise<void> {
  for (const folder of (await readdir(root, { withFileTypes: true }).catch(ignoreMissing)) ?? []) {
    if (!folder.isDirectory()) continue
    for (const name of (await readdir(join(root, folder.name)).catch(ignoreMissing)) ?? []) {
      if (signal.aborted) return
      if (name.includes('~')) await deleteIfOld(join(root, folder.name, name))
    }
  }
}

async function deleteIfOld(path: string): Promise<void> {
  const found = await stat(path).catch(ignoreMissing)
  if (found !== undefined && Date.now() - found.mtimeMs > TEMPORARY_FOR_MS) await rm(path, { force: true })
}

function ignoreMissing(error: unknown): undefined {
  if (typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT')
    return undefined
  throw error
}
