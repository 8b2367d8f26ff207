import { writeFile } from 'node:fs/promises'
import { expect, test } from '@jest/globals'
import { attempt } from '../../src/results/attempt.ts'
import { toCopyKey } from '../../src/results/copy-keys.ts'
import { openFileStore } from '../../src/results/file-store.ts'
import { ResultWorker } from '../../src/results/result-worker.ts'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import { NO_TRACING } from '../../src/tasks/tracing.ts'
import { ManualClock } from '../support/clock.ts'
import { newTask } from '../support/new-task.ts'
import { openTempDir } from '../support/temp-dir.ts'

const MINUTE_MS = 60_000
const HASHES = ['a', 'b', 'c'].map((letter) => letter.repeat(64))
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

test('a process that deletes slowly leaves the rest to others, so that it deletes no file that is used again', async () => {
  await using dir = await openTempDir()
  await using stores = await openSqlite(`${dir.path}/tasks.db`, createLocalHints())
  using store = openFileStore(`${dir.path}/copies`)
  const clock = new ManualClock()
  const task = newTask({ status: 'SUCCEEDED', settledAt: clock.now() })
  await stores.store.insert(task, {})
  for (const hash of HASHES) await stores.copyUses.use(task.id, hash)
  await stores.store.remove(task.owner, task.id)
  const removed: string[] = []
  const worker = new ResultWorker({
    tasks: { inspected: () => Promise.resolve(undefined) },
    jobs: stores.resultJobs,
    uses: stores.copyUses,
    pictures: { download: () => Promise.reject(new Error('unused')), [Symbol.dispose]: () => undefined },
    copies: {
      ...store,
      remove(keys) {
        removed.push(...keys.filter((key) => HASHES.some((hash) => key === toCopyKey(hash))))
        clock.lag(MINUTE_MS)
        return store.remove(keys)
      },
    },
    loadSource: () => Promise.resolve(null),
    clock,
    log: silent,
    tracing: NO_TRACING,
    stopping: new AbortController().signal,
    wake: () => undefined,
  })
  await Promise.all(await worker.round())
  expect(removed).toHaveLength(2)
  clock.lag(MINUTE_MS)
  await Promise.all(await worker.round())
  expect(new Set(removed)).toEqual(new Set(HASHES.map(toCopyKey)))
  expect(removed).toHaveLength(3)
})

test('the copy of a task that is deleted while it is stored goes, although the attempt loses its lease', async () => {
  await using dir = await openTempDir()
  await using stores = await openSqlite(`${dir.path}/tasks.db`, createLocalHints())
  using store = openFileStore(`${dir.path}/copies`)
  const clock = new ManualClock()
  const [sha256 = ''] = HASHES
  const images = [
    { url: 'https://example.com/a', expiresAt: 9e15, facts: null, copyState: 'PENDING' as const },
  ]
  const task = newTask({ status: 'SUCCEEDED', settledAt: clock.now(), images })
  await stores.store.insert(task, {})
  await writeFile(`${dir.path}/picture`, 'a picture')
  const facts = {
    width: 1,
    height: 1,
    byteSize: 9,
    sha256,
    contentType: 'image/png',
    thumbhash: '',
    provenance: null,
  }
  const lost = new AbortController()
  const ended = attempt(
    {
      tasks: { inspected: () => Promise.reject(new Error('The lease is lost')) },
      uses: stores.copyUses,
      pictures: {
        download: () =>
          Promise.resolve({
            kind: 'picture' as const,
            path: `${dir.path}/picture`,
            facts,
            [Symbol.asyncDispose]: () => Promise.resolve(),
          }),
        [Symbol.dispose]: () => undefined,
      },
      copies: {
        ...store,
        async put(key, file) {
          await stores.store.remove(task.owner, task.id)
          expect(await stores.copyUses.claimUnused(1_000, 2_000, 10)).toEqual([sha256])
          await stores.copyUses.forget(sha256, 2_000)
          await store.put(key, file)
          lost.abort(new Error('the lease is lost'))
        },
      },
      loadSource: () => Promise.resolve(null),
      clock,
      log: silent,
    },
    task,
    lost.signal,
  )
  await expect(ended).rejects.toThrow('the lease is lost')
  expect(await stores.copyUses.claimUnused(1_000, 2_000, 10)).toEqual([sha256])
})
