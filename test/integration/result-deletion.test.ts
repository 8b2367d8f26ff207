import { expect, test } from '@jest/globals'
import { toCopyKey } from '../../src/results/copy-keys.ts'
import { openFileStore } from '../../src/results/file-store.ts'
import { ResultWorker } from '../../src/results/result-worker.ts'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
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
