import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { TaskHints, TaskStore } from '../../src/tasks/ports.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { newTask } from '../support/new-task.ts'

/** Opens a store on the same, at first empty, database each time it is called within one test. */
export type OpenTaskStore = (hints: TaskHints) => Promise<TaskStore & AsyncDisposable>

/** Hints that only note which tasks were announced. */
function noteHints(): TaskHints & { announced: string[] } {
  const announced: string[] = []
  return {
    announced,
    announce: (taskId) => void announced.push(taskId),
    listen: () => Promise.resolve({ [Symbol.dispose]: () => undefined }),
  }
}

const once = { force: false }
const again = { force: true }

const ids = (tasks: UpscaleTask[]) => tasks.map(({ id }) => id).sort()

/** What every TaskStore must do; `setUp` gives a way to open one on a fresh database. */
export function describeTaskStore(
  name: string,
  setUp: () => Promise<AsyncDisposable & { readonly open: OpenTaskStore }>,
): void {
  describe(`${name} is a TaskStore`, () => {
    let database: Awaited<ReturnType<typeof setUp>>
    let store: TaskStore & AsyncDisposable
    let hints: ReturnType<typeof noteHints>

    beforeEach(async () => {
      database = await setUp()
      hints = noteHints()
      store = await database.open(hints)
    })
    afterEach(async () => {
      await store[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    })

    const insert = async (changes: Partial<UpscaleTask> = {}) => {
      const task = newTask(changes)
      expect(await store.insert(task, once)).toEqual({ inserted: true })
      return task
    }

    test('it is ready once it is open', async () => {
      await expect(store.check()).resolves.toBeUndefined()
    })

    test('a task is read as it was inserted, with every field', async () => {
      const task = await insert({
        waterMark: 'märk ✓',
        keyClaim: 'key',
        keyClaimUntil: 4_102_444_800_000,
        images: [{ url: 'https://example.com/a.png', expiresAt: 4_102_444_800_001 }],
        failure: { code: 'GENERATION_FAILED', upstreamCode: 501, retryAfterMs: 0, correlationId: 'c' },
        refused: true,
        upstreamTaskId: 'upstream',
        pictureClaimUntil: 4_102_444_800_002,
        settledAt: 4_102_444_800_003,
        dueAt: null,
        polls: 7,
        answerBy: 4_102_444_800_004,
        history: [{ at: 1, status: 'SUBMITTED', source: 'SUBMIT', upstreamCode: null, note: 'ä' }],
      })
      expect(await store.read(task.id)).toEqual(task)
    })

    test('an unknown task is undefined', async () => {
      expect(await store.read('nobody')).toBeUndefined()
    })

    test('what was committed is there after the store was closed and opened again', async () => {
      const task = await insert()
      await store[Symbol.asyncDispose]()
      store = await database.open(hints)
      expect(await store.read(task.id)).toEqual(task)
    })

    describe('update', () => {
      test('replaces the state it was decided on, and announces it', async () => {
        const task = await insert()
        const next: UpscaleTask = { ...task, version: 2, status: 'PROCESSING', upstreamTaskId: 'u', dueAt: 5 }
        expect(await store.update(task, next)).toBe(true)
        expect(await store.read(task.id)).toEqual(next)
        expect(hints.announced).toEqual([task.id])
      })

      test('changes and announces nothing when the task has moved on', async () => {
        const task = await insert()
        const moved: UpscaleTask = { ...task, version: 2, status: 'PROCESSING' }
        await store.update(task, moved)
        expect(await store.update(task, { ...task, version: 2, status: 'FAILED' })).toBe(false)
        expect(await store.read(task.id)).toEqual(moved)
        expect(hints.announced).toEqual([task.id])
      })

      test('of many concurrent ones on the same state exactly one wins', async () => {
        const task = await insert()
        const moves = Array.from({ length: 20 }, (_, polls) =>
          store.update(task, { ...task, version: 2, polls }),
        )
        expect((await Promise.all(moves)).filter(Boolean)).toHaveLength(1)
      })

      test('announces only what can already be read', async () => {
        const task = await insert()
        const seen: Promise<number | undefined>[] = []
        hints.announce = (id) => void seen.push(store.read(id).then((read) => read?.version))
        await store.update(task, { ...task, version: 2 })
        expect(await Promise.all(seen)).toEqual([2])
      })
    })

    describe('claims', () => {
      test('the same idempotency key gives the task that holds it', async () => {
        const first = await insert({ keyClaim: 'key', pictureClaim: 'picture' })
        const second = newTask({ keyClaim: 'key', pictureClaim: 'another picture' })
        expect(await store.insert(second, once)).toEqual({ inserted: false, existing: first, by: 'key' })
        expect(await store.read(second.id)).toBeUndefined()
      })

      test('the same picture gives the task that holds it', async () => {
        const first = await insert({ pictureClaim: 'picture' })
        const second = newTask({ keyClaim: 'new key', pictureClaim: 'picture' })
        expect(await store.insert(second, once)).toEqual({ inserted: false, existing: first, by: 'picture' })
      })

      test('where key and picture are held by different tasks, the key counts', async () => {
        const byKey = await insert({ keyClaim: 'key', pictureClaim: 'one' })
        await insert({ pictureClaim: 'two' })
        const third = newTask({ keyClaim: 'key', pictureClaim: 'two' })
        expect(await store.insert(third, once)).toEqual({ inserted: false, existing: byKey, by: 'key' })
      })

      test('force takes the picture over, and a later update of the old task does not take it back', async () => {
        const first = await insert({ pictureClaim: 'picture' })
        const second = newTask({ pictureClaim: 'picture' })
        expect(await store.insert(second, again)).toEqual({ inserted: true })
        expect(await store.update(first, { ...first, version: 2, status: 'SUCCEEDED' })).toBe(true)
        const third = newTask({ pictureClaim: 'picture' })
        expect(await store.insert(third, once)).toMatchObject({ existing: { id: second.id }, by: 'picture' })
      })

      test('force does not get past an idempotency key, and then takes nothing over', async () => {
        const first = await insert({ keyClaim: 'key', pictureClaim: 'picture' })
        const forced = newTask({ keyClaim: 'key', pictureClaim: 'picture' })
        expect(await store.insert(forced, again)).toEqual({ inserted: false, existing: first, by: 'key' })
        const other = newTask({ pictureClaim: 'picture' })
        expect(await store.insert(other, once)).toMatchObject({ existing: { id: first.id } })
      })

      test('a claim that an update gave up is free', async () => {
        const first = await insert({ keyClaim: 'key', pictureClaim: 'picture' })
        await store.update(first, { ...first, version: 2, keyClaim: null, pictureClaim: null })
        await insert({ keyClaim: 'key', pictureClaim: 'picture' })
      })

      test('a claim is free from the moment it runs out', async () => {
        const until = 1_000_000
        const first = await insert({
          keyClaim: 'key',
          keyClaimUntil: until,
          pictureClaim: 'picture',
          pictureClaimUntil: until,
          createdAt: 0,
        })
        const early = newTask({ keyClaim: 'key', pictureClaim: 'picture', createdAt: until - 1 })
        expect(await store.insert(early, once)).toMatchObject({ existing: { id: first.id }, by: 'key' })
        await insert({ keyClaim: 'key', pictureClaim: 'picture', createdAt: until })
      })

      test('of 100 concurrent inserts with one claim exactly one is stored', async () => {
        const tasks = Array.from({ length: 100 }, () => newTask({ pictureClaim: 'picture' }))
        const insertions = await Promise.all(tasks.map((task) => store.insert(task, once)))
        expect(insertions.filter(({ inserted }) => inserted)).toHaveLength(1)
        expect(await store.list({ owner: 'owner', status: null, after: null, limit: 200 })).toHaveLength(1)
      })
    })

    describe('claims to poll', () => {
      const claim = (now: number, limit = 10, leaseUntil = now + 1_000) =>
        store.claimDue(now, leaseUntil, limit)

      test('gives what is due, longest due first, no more than asked for, and leases it', async () => {
        const [late, later] = [await insert({ dueAt: 10 }), await insert({ dueAt: 20 })]
        await insert({ dueAt: 31 })
        await insert({ dueAt: null })
        expect(await claim(30, 1)).toEqual([{ ...late, dueAt: 1_030 }])
        expect(await claim(30)).toEqual([{ ...later, dueAt: 1_030 }])
        expect(await claim(30)).toEqual([])
      })

      test('gives it again when the lease has ended', async () => {
        const task = await insert({ dueAt: 10 })
        await claim(10, 1, 500)
        expect(await claim(499)).toEqual([])
        expect(ids(await claim(500))).toEqual([task.id])
      })

      test('gives each of 500 tasks to exactly one of many concurrent claimers', async () => {
        for (let n = 0; n < 500; n += 1) await insert({ dueAt: n })
        await using other = await database.open(hints)
        const claimers = Array.from({ length: 100 }, (_, n) =>
          (n % 2 ? store : other).claimDue(999, 5_000, 7),
        )
        const claimed = (await Promise.all(claimers)).flat()
        expect(new Set(ids(claimed)).size).toBe(claimed.length)
        expect(claimed).toHaveLength(500)
      })

      test('rescheduling ends the lease, counts the poll, and announces nothing', async () => {
        await insert({ dueAt: 10 })
        const [task] = (await claim(10)) as [UpscaleTask]
        await store.reschedule(task, 70)
        expect(await store.read(task.id)).toEqual({ ...task, dueAt: 70, polls: 1 })
        expect(hints.announced).toEqual([])
      })

      test('rescheduling does nothing to a task that has moved or was hurried since', async () => {
        const { id } = await insert({ dueAt: 10 })
        const [claimed] = (await claim(10)) as [UpscaleTask]
        await store.hurry(id, 11)
        await store.reschedule(claimed, 9_999)
        expect(await store.read(id)).toMatchObject({ dueAt: 11, polls: 0 })
        const [again] = (await claim(11)) as [UpscaleTask]
        await store.update(again, { ...again, version: 2, status: 'SUCCEEDED', dueAt: null })
        await store.reschedule(again, 9_999)
        expect(await store.read(id)).toMatchObject({ dueAt: null, polls: 0 })
      })

      test.each([
        ['a task that is due later', { dueAt: 99 }, 50],
        ['a task that is not due at all', { status: 'FAILED', dueAt: null }, 50],
        ['but not one that is due already', { dueAt: 20 }, 20],
        ['nor one that has succeeded', { status: 'SUCCEEDED', dueAt: null }, null],
      ] as const)('hurrying makes it due now: %s', async (_name, changes, dueAt) => {
        const { id } = await insert(changes)
        await store.hurry(id, 50)
        expect((await store.read(id))?.dueAt).toBe(dueAt)
      })
    })

    test('overdue are the tasks past their deadline that are not settled', async () => {
      const first = await insert({ deadlineAt: 100, status: 'SUBMITTED' })
      const second = await insert({ deadlineAt: 200, status: 'PROCESSING' })
      await insert({ deadlineAt: 201 })
      await insert({ deadlineAt: 50, status: 'FAILED', settledAt: 60 })
      expect(await store.listOverdue(200, 10)).toEqual([first, second])
      expect(await store.listOverdue(200, 1)).toEqual([first])
    })

    test('retention removes settled tasks before an instant, in batches, and nothing else', async () => {
      for (const settledAt of [1, 2, 3]) await insert({ status: 'FAILED', settledAt })
      const stays = [await insert({ status: 'SUCCEEDED', settledAt: 4 }), await insert({ createdAt: 0 })]
      expect(await store.removeSettled(4, 2)).toBe(2)
      expect(await store.removeSettled(4, 2)).toBe(1)
      expect(await store.removeSettled(4, 2)).toBe(0)
      const left = await store.list({ owner: 'owner', status: null, after: null, limit: 10 })
      expect(ids(left)).toEqual(ids(stays))
    })

    describe('list', () => {
      test("gives an owner's tasks newest first, and those of the same instant in a fixed order", async () => {
        const tasks = []
        for (const createdAt of [1, 3, 2, 2, 2]) tasks.push(await insert({ createdAt }))
        await insert({ owner: 'someone else', createdAt: 9 })
        const expected = tasks
          .sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1))
          .map(({ id }) => id)
        const listed = await store.list({ owner: 'owner', status: null, after: null, limit: 10 })
        expect(listed.map(({ id }) => id)).toEqual(expected)

        const paged: string[] = []
        for (let after: UpscaleTask | null = null; ;) {
          const page: UpscaleTask[] = await store.list({ owner: 'owner', status: null, after, limit: 2 })
          paged.push(...page.map(({ id }) => id))
          after = page.at(-1) ?? null
          if (after === null) break
        }
        expect(paged).toEqual(expected)
      })

      test('gives only those of a status when asked', async () => {
        await insert()
        const failed = await insert({ status: 'FAILED' })
        const listed = await store.list({ owner: 'owner', status: 'FAILED', after: null, limit: 10 })
        expect(listed).toEqual([failed])
      })
    })
  })
}
