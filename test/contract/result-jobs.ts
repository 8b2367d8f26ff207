import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import type { Stores } from '../../src/store/sql.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { newTask } from '../support/new-task.ts'

const HASH = 'a'.repeat(64)
const OTHER_HASH = 'b'.repeat(64)
const HOUR_MS = 3_600_000
const FOUND = {
  images: [{ url: 'https://example.com/a.png', expiresAt: 9, facts: null, copyState: 'PENDING' as const }],
}

/** What every ResultJobs and CopyUses must do; `setUp` opens a fresh database. */
export function describeResultJobs(
  name: string,
  setUp: () => Promise<AsyncDisposable & { open(hints: TaskHints): Promise<Stores> }>,
): void {
  let database: Awaited<ReturnType<typeof setUp>>
  let stores: Stores
  beforeEach(async () => {
    database = await setUp()
    stores = await database.open(createLocalHints())
  })
  afterEach(async () => {
    await stores[Symbol.asyncDispose]()
    await database[Symbol.asyncDispose]()
  })
  const insert = async (changes: Partial<UpscaleTask> = {}) => {
    const task = newTask({ ...FOUND, ...changes })
    await stores.store.insert(task, {})
    return task
  }

  describe(`${name} has ResultJobs`, () => {
    const claim = (now = 5_000, limit = 10) => stores.resultJobs.claimDue(now, now + 1_000, limit, HOUR_MS)

    test('claims the tasks whose attempt is due, longest due first, up to the limit', async () => {
      const [late, early] = [await insert({ resultDueAt: 4_000 }), await insert({ resultDueAt: 3_000 })]
      await insert({ resultDueAt: 5_001 })
      await insert({ resultDueAt: null })
      expect((await claim(5_000, 1)).map(({ id }) => id)).toEqual([early.id])
      expect(await claim()).toEqual([{ ...late, resultDueAt: 6_000 }])
      expect(await claim()).toEqual([])
    })

    test('concurrent claims never get the same task', async () => {
      for (let n = 0; n < 20; n += 1) await insert({ resultDueAt: n })
      const claims = await Promise.all(Array.from({ length: 8 }, () => claim(5_000, 5)))
      const ids = claims.flat().map(({ id }) => id)
      expect(ids).toHaveLength(20)
      expect(new Set(ids).size).toBe(20)
    })

    test('a task is due again when its lease has ended, and not while the lease is renewed', async () => {
      const { id } = await insert({ resultDueAt: 5_000 })
      await claim(5_000)
      expect(await stores.resultJobs.moveLease(id, 6_000, 8_000)).toBe(true)
      expect(await claim(7_999)).toEqual([])
      expect(await claim(8_000)).toMatchObject([{ id }])
      expect(await stores.resultJobs.moveLease(id, 8_000, 10_000)).toBe(false)
    })

    test('a lease on a finished attempt cannot be renewed', async () => {
      const task = await insert({ resultDueAt: 5_000 })
      await claim(5_000)
      await stores.store.update(task, { ...task, revision: 2, resultDueAt: null })
      expect(await stores.resultJobs.moveLease(task.id, 6_000, 8_000)).toBe(false)
      expect(await claim(9_000)).toEqual([])
    })

    test('after the clock was set back, a task that seems due far in the future is due at once', async () => {
      const { id } = await insert({ resultDueAt: 5_001 + HOUR_MS })
      await insert({ resultDueAt: 5_000 + HOUR_MS })
      expect(await claim()).toMatchObject([{ id }])
    })

    test('lists the tasks whose inspection is overdue', async () => {
      const overdue = await insert({ status: 'PROCESSING', dueAt: 4_000 })
      await insert({ status: 'PROCESSING', dueAt: 5_001 })
      await insert({ status: 'PROCESSING', dueAt: 4_000, images: null })
      await insert({ status: 'SUCCEEDED', dueAt: null })
      expect(await stores.resultJobs.listOverdue(5_000, 10)).toEqual([overdue])
    })

    test('a task that waits for its inspection is not claimed for a poll, and pollSoon does not change it', async () => {
      const task = await insert({ status: 'PROCESSING', dueAt: 4_000 })
      await stores.store.pollSoon(task.id, 1_000)
      expect(await stores.store.claimDue(5_000, 6_000, 10)).toEqual([])
      expect(await stores.store.read(task.id)).toEqual(task)
    })

    test('a source image is stored without a new version, and a concurrent change keeps it', async () => {
      const task = await insert()
      const sourceImage = { url: 'https://example.com/s.png', width: 256, height: 128, thumbhash: 'aA==' }
      await stores.resultJobs.saveSource(task.id, sourceImage)
      expect(await stores.store.update(task, { ...task, version: 2, revision: 2 })).toBe('updated')
      expect(await stores.store.read(task.id)).toEqual({ ...task, version: 2, revision: 2, sourceImage })
    })
  })

  describe(`${name} has CopyUses`, () => {
    const settled = () => insert({ status: 'SUCCEEDED', settledAt: 1_000 })
    const claimUnused = (now = 5_000) => stores.copyUses.claimUnused(now, now + 1_000, 10)
    const use = async (task: UpscaleTask, hash = HASH) =>
      expect(await stores.copyUses.use(task.id, hash)).toBe('used')

    test('a copy is unused when the last task that uses it is deleted', async () => {
      const [first, second] = [await settled(), await settled()]
      for (const task of [first, second, first]) await use(task)
      await use(first, OTHER_HASH)
      expect(await stores.store.remove('owner', first.id)).toBe(true)
      expect(await claimUnused()).toEqual([OTHER_HASH])
      expect(await stores.store.removeSettled(2_000, 10)).toBe(1)
      expect(await claimUnused()).toEqual([HASH])
    })

    test('a copy is unused after concurrent deletions of its last two tasks', async () => {
      const tasks = [await settled(), await settled()]
      for (const task of tasks) await use(task)
      await Promise.all(tasks.map(({ id }) => stores.store.remove('owner', id)))
      expect(await claimUnused()).toEqual([HASH])
    })

    test('concurrent claims never get the same copy, which can be claimed again when the lease has ended', async () => {
      const task = await settled()
      await use(task)
      await stores.store.remove('owner', task.id)
      const claims = await Promise.all([claimUnused(), claimUnused(), claimUnused()])
      expect(claims.flat()).toEqual([HASH])
      expect(await claimUnused(5_999)).toEqual([])
      expect(await claimUnused(6_000)).toEqual([HASH])
      expect(await claimUnused(-HOUR_MS)).toEqual([HASH])
    })

    test('a copy whose files are being deleted is busy until its entry is deleted', async () => {
      const [first, second] = [await settled(), await settled()]
      await use(first)
      await stores.store.remove('owner', first.id)
      await claimUnused(5_000)
      expect(await stores.copyUses.use(second.id, HASH)).toBe('busy')
      await stores.copyUses.forget(HASH, 6_000)
      await use(second)
      expect(await claimUnused(9_000)).toEqual([])
    })

    test('a copy that is used again before its deletion is claimed is not deleted', async () => {
      const [first, second] = [await settled(), await settled()]
      await use(first)
      await stores.store.remove('owner', first.id)
      await use(second)
      expect(await claimUnused()).toEqual([])
    })

    test('a deleted task cannot use a copy; what it stored is abandoned, unless another task uses it', async () => {
      const [gone, other] = [await settled(), await settled()]
      await use(other, OTHER_HASH)
      await stores.store.remove('owner', gone.id)
      expect(await stores.copyUses.use(gone.id, HASH)).toBe('gone')
      for (const hash of [HASH, OTHER_HASH]) await stores.copyUses.abandon(hash)
      expect(await claimUnused()).toEqual([HASH])
    })

    test('a copy that is abandoned while its files are deleted is deleted once more, and not used before', async () => {
      const [first, second] = [await settled(), await settled()]
      await use(first)
      await stores.store.remove('owner', first.id)
      expect(await claimUnused(5_000)).toEqual([HASH])
      // A file was stored after those files had been deleted.
      await stores.copyUses.abandon(HASH)
      expect(await stores.copyUses.use(second.id, HASH)).toBe('busy')
      await stores.copyUses.forget(HASH, 6_000)
      expect(await stores.copyUses.use(second.id, HASH)).toBe('busy')
      expect(await claimUnused(7_000)).toEqual([HASH])
      await stores.copyUses.forget(HASH, 8_000)
      await use(second)
    })

    test('a process whose claim has ended does not forget a copy', async () => {
      const task = await settled()
      await use(task)
      await stores.store.remove('owner', task.id)
      await claimUnused(5_000)
      await claimUnused(6_000)
      await stores.copyUses.forget(HASH, 6_000)
      expect(await claimUnused(7_000)).toEqual([HASH])
    })

    test('an owner deletes only own, settled tasks, with their keys and deliveries', async () => {
      const running = await insert({ status: 'PROCESSING' })
      const task = newTask({ status: 'FAILED', settledAt: 1_000 })
      const key = { claim: 'claim', until: 9_000 }
      await stores.store.insert(task, { key, callBackUrl: 'https://example.com/hook' })
      expect(await stores.store.remove('owner', running.id)).toBe(false)
      expect(await stores.store.remove('other', task.id)).toBeUndefined()
      expect(await stores.store.remove('owner', 'unknown')).toBeUndefined()
      expect(await stores.store.remove('owner', task.id)).toBe(true)
      expect(await stores.store.read(task.id)).toBeUndefined()
      expect(await stores.outbox.list([task.id])).toEqual([])
      expect(await stores.store.insert(newTask(), { key })).toEqual({ inserted: true })
    })
  })
}
