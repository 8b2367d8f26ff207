import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import type { Stores } from '../../src/store/sql.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { newTask } from '../support/new-task.ts'

const SETTLED = { status: 'SUCCEEDED', settledAt: 1_000 } as const
const NOTHING = { tasks: 0, keys: 0, deliveries: 0, copies: 0, usage: 0, open: 0 }
const HASHES = ['a', 'b', 'c'].map((digit) => digit.repeat(64))
const DAY = '1970-01-01'

/**
 * What the erasure of an owner must do in every store; `setUp` gives a way to open one on a fresh database.
 */
export function describeErasure(
  name: string,
  setUp: () => Promise<AsyncDisposable & { open(hints: TaskHints): Promise<Stores> }>,
): void {
  describe(`${name} erases an owner`, () => {
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

    const insert = async (owner: string, changes: Partial<UpscaleTask> = {}, key: string | null = null) => {
      const task = newTask({ owner, ...SETTLED, ...changes })
      await stores.store.insert(task, {
        key: key === null ? null : { claim: key, until: 9e15 },
        callBackUrl: key === null ? null : 'https://example.com/hook',
      })
      return task
    }
    const spend = (task: UpscaleTask) =>
      stores.store.update(task, { ...task, version: 2, revision: 2, creditsConsumed: 3 })
    const idsOf = async (owner: string) =>
      (await stores.store.list({ owner, status: null, after: null, limit: 100 })).map(({ id }) => id)

    test('with tasks, keys, deliveries, copies and usage, and leaves those of others', async () => {
      const [first, second] = [await insert('alice', {}, 'one'), await insert('alice', {}, 'two')]
      const other = await insert('bob', {}, 'three')
      for (const [task, hash] of [
        [first, 0],
        [first, 1],
        [second, 1],
        [second, 2],
        [other, 2],
      ] as const)
        expect(await stores.copyUses.use(task.id, HASHES[hash] ?? '')).toBe('used')
      for (const task of [first, second, other]) await spend(task)

      expect(await stores.eraseOwner('alice')).toEqual({
        tasks: 2,
        keys: 2,
        deliveries: 2,
        copies: 2,
        usage: 1,
        open: 0,
      })
      expect(await idsOf('alice')).toEqual([])
      expect(await stores.outbox.list([first.id, second.id])).toEqual([])
      expect((await stores.copyUses.claimUnused(1_000, 2_000, 10)).sort()).toEqual(HASHES.slice(0, 2))
      expect(await stores.store.readUsage(DAY, 'alice')).toEqual([])
      const again = newTask({ owner: 'alice' })
      expect(await stores.store.insert(again, { key: { claim: 'one', until: 9e15 } })).toEqual({
        inserted: true,
      })

      expect(await idsOf('bob')).toEqual([other.id])
      expect(await stores.outbox.list([other.id])).toHaveLength(1)
      expect(await stores.store.readUsage(DAY, 'bob')).toHaveLength(1)
      expect(
        await stores.store.insert(newTask({ owner: 'bob' }), { key: { claim: 'three', until: 9e15 } }),
      ).toMatchObject({
        existing: { id: other.id },
      })
    })

    test('only if no task is open', async () => {
      const [settled] = [
        await insert('alice', {}, 'one'),
        await insert('bob', { status: 'PROCESSING', settledAt: null }),
      ]
      const open = await insert('alice', { status: 'SUBMITTED', settledAt: null })
      const running = await insert('alice', { status: 'PROCESSING', settledAt: null })
      await spend(settled)
      expect(await stores.eraseOwner('alice')).toEqual({ ...NOTHING, open: 2 })
      expect((await idsOf('alice')).sort()).toEqual([settled.id, open.id, running.id].sort())
      expect(await stores.store.readUsage(DAY, 'alice')).toHaveLength(1)
    })

    test('with any number of tasks, once', async () => {
      for (let n = 0; n < 450; n += 1) await insert('alice')
      expect(await stores.eraseOwner('alice')).toEqual({ ...NOTHING, tasks: 450 })
      expect(await stores.eraseOwner('alice')).toEqual(NOTHING)
    })

    test('while others delete and settle tasks of the same owner', async () => {
      for (let n = 0; n < 60; n += 1) await insert('alice', {}, `key-${n}`)
      const [one, two] = await Promise.all([
        stores.eraseOwner('alice'),
        stores.eraseOwner('alice'),
        stores.store.removeSettled(2_000, 30),
      ])
      expect(one.tasks + two.tasks).toBeGreaterThanOrEqual(30)
      expect(await idsOf('alice')).toEqual([])
    })
  })
}
