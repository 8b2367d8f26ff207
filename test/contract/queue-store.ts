import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { SqlQueue } from '../../src/store/queue.ts'
import type { Sql, Stores } from '../../src/store/sql.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import { CLOCK_TOLERANCE_MS } from '../../src/tasks/store-port.ts'
import type { QueueEntry } from '../../src/tasks/queue/queue-ports.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { inGroups } from '../support/in-groups.ts'
import { newTask } from '../support/new-task.ts'

const ENGINE = 'kie-midjourney'
const OTHER_ENGINE = 'legnext'
const NOW = 10_000_000
const LEASE_UNTIL = NOW + 10_000
/** No delay in the queue is as long. */
const LATE_MS = 2 * CLOCK_TOLERANCE_MS
const LEFT = { queueRank: null, queueDueAt: null }

const idsOf = (tasks: readonly Pick<UpscaleTask, 'id'>[]) => tasks.map(({ id }) => id)

/** The statements that the queue runs as often as it sends a task. */
export async function readQueueStatements(sql: Sql) {
  const statements: { readonly sql: string; readonly parameters: readonly unknown[] }[] = []
  const queue = new SqlQueue({
    ...sql,
    run(statement) {
      statements.push(statement.compile(sql.db))
      return sql.run(statement)
    },
  })
  const taken = async (work: Promise<unknown>) => {
    await work
    const [last] = statements.splice(0).slice(-1)
    if (last === undefined) throw new Error('No statement was run')
    return last
  }
  return {
    claim: await taken(queue.claimQueued(ENGINE, NOW, LEASE_UNTIL, 1)),
    nextDue: await taken(queue.nextQueueDueAt(ENGINE, NOW)),
    list: await taken(queue.listQueued(100)),
  }
}

/** What every QueueStore must do; `setUp` opens a fresh database. */
export function describeQueueStore(
  name: string,
  setUp: () => Promise<AsyncDisposable & { open(hints: TaskHints): Promise<Stores> }>,
): void {
  describe(`${name} is a QueueStore`, () => {
    let database: Awaited<ReturnType<typeof setUp>>
    let stores: Stores
    /** Another process's view of the database. */
    let other: Stores
    beforeEach(async () => {
      database = await setUp()
      stores = await database.open(createLocalHints())
      other = await database.open(createLocalHints())
    })
    afterEach(async () => {
      for (const disposable of [other, stores, database]) await disposable[Symbol.asyncDispose]()
    })

    let count = 0
    /** Queues a task; each is a millisecond younger than the one before. */
    const insert = async (
      changes: Partial<UpscaleTask> = {},
      entry: Partial<QueueEntry<string>> = {},
      { store } = stores,
    ) => {
      const times = { queueDueAt: NOW, createdAt: NOW + (count += 1), deadlineAt: 2 * NOW }
      const task = newTask({ ...times, ...changes })
      const queue = { limit: null, weight: 1, full: 'full', ...entry }
      return { task, insertion: await store.insert(task, { force: true, queue }) }
    }
    /** Queues one task for each of these owners, in this order. */
    const insertFor = async (...owners: readonly string[]) => {
      const tasks: UpscaleTask[] = []
      for (const owner of owners) tasks.push((await insert({ owner })).task)
      return tasks
    }
    const read = async (task: UpscaleTask | undefined) => {
      const found = await stores.store.read(task?.id ?? '')
      if (found === undefined) throw new Error('There is no such task')
      return found
    }
    /** Takes a task out of the queue, as its send does. */
    const leave = async (waiting: UpscaleTask | undefined) => {
      const task = await read(waiting)
      expect(await stores.store.update(task, { ...task, ...LEFT, revision: task.revision + 1 })).toBe(
        'updated',
      )
    }
    const claim = (now = NOW, limit = 100, { queueStore } = stores) =>
      queueStore.claimQueued(ENGINE, now, now + 10_000, limit)
    const claimOther = () => stores.queueStore.claimQueued(OTHER_ENGINE, NOW, LEASE_UNTIL, 100)

    describe('a claim', () => {
      test('takes one task of each owner in turn, and those of one owner in order, up to its limit', async () => {
        const [a1, a2, a3, b1, b2, c1] = await insertFor('a', 'a', 'a', 'b', 'b', 'c')
        const order = [a1, a2, b1, c1, a3, b2].map((task) => task?.id)
        expect(idsOf(await stores.queueStore.listQueued(100))).toEqual(order)
        expect(idsOf(await stores.queueStore.listQueued(4))).toEqual(order.slice(0, 4))
        const first = await claim(NOW, 4)
        expect(idsOf(first)).toEqual(order.slice(0, 4))
        expect(first[0]).toEqual({ ...a1, queueRank: 1, queueAhead: 0, queueDueAt: LEASE_UNTIL })
        expect(idsOf(await claim())).toEqual(order.slice(4))
        // A claimed task has not been sent: it still waits.
        expect(idsOf(await stores.queueStore.listQueued(100))).toEqual(order)
      })

      test('gives an owner with weight 3 three turns for one of the others', async () => {
        for (let n = 0; n < 6; n += 1) await insert({ owner: 'heavy' }, { weight: 3 })
        await insertFor('light', 'light')
        const owners = (await claim()).map(({ owner }) => owner)
        expect(owners.slice(0, 5).filter((owner) => owner === 'light')).toHaveLength(1)
        expect(owners.filter((owner) => owner === 'light')).toHaveLength(2)
      })

      test('takes the older of two tasks with the same turn first', async () => {
        const [first] = await insertFor('a')
        await leave(first)
        const [second] = await insertFor('b')
        const task = await read(first)
        const back = { ...task, queueRank: 1, queueDueAt: NOW, revision: task.revision + 1 }
        await stores.store.update(task, back)
        expect(idsOf(await claim())).toEqual([first?.id, second?.id])
      })

      test('takes no task before it is due, and no task that has left the queue', async () => {
        const [left, waiting] = await insertFor('a', 'a')
        const { task: later } = await insert({ queueDueAt: NOW + 1 })
        await stores.store.insert(newTask({ createdAt: NOW }), {})
        await leave(left)
        expect(idsOf(await claim())).toEqual([waiting?.id])
        expect(idsOf(await claim(NOW + 1))).toEqual([later.id])
      })

      test('leases its tasks: they are claimed again when the lease ends, and not before', async () => {
        const [task] = await insertFor('a')
        await claim()
        expect(await claim(LEASE_UNTIL - 1, 100, other)).toEqual([])
        expect(idsOf(await claim(LEASE_UNTIL, 100, other))).toEqual([task?.id])
      })

      test('does not conflict with a change that was decided before it', async () => {
        const { task } = await insert()
        const before = await read(task)
        await claim()
        expect(await stores.store.update(before, { ...before, ...LEFT, revision: 2 })).toBe('updated')
      })

      test('gives each of 120 tasks to one of 40 that claim at once', async () => {
        for (let batch = 0; batch < 6; batch += 1)
          await Promise.all(Array.from({ length: 20 }, (_, n) => insert({ owner: `owner ${n % 3}` })))
        const claims = Array.from({ length: 40 }, (_, n) => claim(NOW, 4, n % 2 === 0 ? stores : other))
        const claimed = idsOf((await Promise.all(claims)).flat())
        expect(new Set(claimed).size).toBe(claimed.length)
        // A claim skips the tasks that another one is about to take, so some may be left.
        const left = idsOf(await claim(NOW, 1_000))
        expect(new Set([...claimed, ...left]).size).toBe(120)
        expect(claimed.length + left.length).toBe(120)
      })

      test('finds tasks that were queued before the clock was set back', async () => {
        const { task } = await insert({ queueDueAt: NOW })
        const back = NOW - LATE_MS - 1
        // As late as a refusal can make it.
        const { task: soon } = await insert({ queueDueAt: back + LATE_MS })
        expect(await stores.queueStore.nextQueueDueAt(ENGINE, back)).toBe(back)
        expect(idsOf(await claim(back))).toEqual([task.id])
        expect(idsOf(await claim(back + LATE_MS - 1, 100, other))).toEqual([task.id])
        expect(idsOf(await claim(back + LATE_MS, 100, other))).toEqual([soon.id])
      })
    })

    describe('the turns of one owner', () => {
      test('are one after another, however many of its tasks arrive at once', async () => {
        const inserts = Array.from({ length: 50 })
        await inGroups(inserts, (_, n) => insert({}, {}, n % 2 === 0 ? stores : other))
        const queued = await claim(NOW, 100)
        expect(queued.map(({ queueRank }) => queueRank)).toEqual(queued.map((_, n) => n + 1))
        expect(queued.map(({ queueAhead }) => queueAhead)).toEqual(queued.map((_, n) => n))
      })

      test('begin at the current turn when none of its tasks waits', async () => {
        const [first] = await insertFor('a', 'a', 'a', 'a')
        await leave(first)
        const [late] = await insertFor('b')
        expect((await read(late)).queueRank).toBe(3)
        expect(idsOf(await stores.queueStore.listQueued(100)).indexOf(late?.id ?? '')).toBe(2)
      })
    })

    describe('the limit of one owner', () => {
      test('is exact, however many of its tasks arrive at once, and others have their own', async () => {
        const arrived = await inGroups(Array.from({ length: 60 }), (_, n) =>
          insert({ owner: n < 50 ? 'a' : 'b' }, { limit: 20 }, n % 2 === 0 ? stores : other),
        )
        const queued = arrived.filter(({ insertion }) => insertion.inserted)
        expect(queued.filter(({ task }) => task.owner === 'a')).toHaveLength(20)
        expect(queued.filter(({ task }) => task.owner === 'b')).toHaveLength(10)
        const refused = arrived.filter(({ insertion }) => !insertion.inserted)
        for (const { task, insertion } of refused) {
          expect(insertion).toEqual({ inserted: false, refusal: 'full' })
          expect(await stores.store.read(task.id)).toBeUndefined()
        }
      })

      test('counts claimed tasks, and none that have left the queue', async () => {
        const [first] = await insertFor('a', 'a')
        await claim()
        expect((await insert({ owner: 'a' }, { limit: 2 })).insertion.inserted).toBe(false)
        await leave(first)
        expect((await insert({ owner: 'a' }, { limit: 2 })).insertion.inserted).toBe(true)
      })
    })

    describe('the tasks of another engine', () => {
      test('are not claimed, and stay due', async () => {
        const { task: theirs } = await insert({ engine: OTHER_ENGINE })
        const [ours] = await insertFor('owner')
        expect(idsOf(await claim())).toEqual([ours?.id])
        expect(await stores.queueStore.nextQueueDueAt(ENGINE, NOW)).toBe(LEASE_UNTIL)
        expect(await stores.queueStore.nextQueueDueAt(OTHER_ENGINE, NOW)).toBe(NOW)
        expect(idsOf(await claimOther())).toEqual([theirs.id])
      })

      test('take no place in a claim that is limited', async () => {
        for (let n = 0; n < 5; n += 1) await insert({ engine: OTHER_ENGINE })
        const tasks = await insertFor('owner', 'owner')
        expect(idsOf(await claim(NOW, 2))).toEqual(idsOf(tasks))
      })

      test('do not change the turn at which an owner begins, nor the positions', async () => {
        const { queueStore } = stores
        for (let n = 0; n < 3; n += 1) await insert({ engine: OTHER_ENGINE, owner: 'a' })
        const [first, second] = await insertFor('a', 'b')
        expect(await read(first)).toMatchObject({ queueRank: 1, queueAhead: 0 })
        expect(await read(second)).toMatchObject({ queueRank: 2, queueAhead: 1 })
        expect(await queueStore.readPosition(second?.id ?? '')).toBe(2)
        const { task: theirs } = await insert({ engine: OTHER_ENGINE, owner: 'b' })
        // At the turn of its engine, with the first task of the other owner ahead.
        expect(await read(theirs)).toMatchObject({ queueRank: 2, queueAhead: 2 })
        expect(await queueStore.readPosition(theirs.id)).toBe(3)
        for (const task of [first, second]) await leave(task)
        expect([
          await queueStore.readTurn(ENGINE, NOW),
          await queueStore.readTurn(OTHER_ENGINE, NOW),
        ]).toEqual([null, 1])
      })

      test('do not count as a backlog, but are listed by engine and counted together', async () => {
        const { queueStore } = stores
        const { task: theirs } = await insert({ engine: OTHER_ENGINE })
        const [ours] = await insertFor('owner')
        expect(await queueStore.hasMoreThan(ENGINE, 0)).toBe(true)
        expect(await queueStore.hasMoreThan(ENGINE, 1)).toBe(false)
        expect(await queueStore.hasMoreThan('kie-jobs', 0)).toBe(false)
        expect(await queueStore.nextQueueDueAt('kie-jobs', NOW)).toBeNull()
        expect(await queueStore.listQueued(100)).toEqual([
          { id: ours?.id, engine: ENGINE },
          { id: theirs.id, engine: OTHER_ENGINE },
        ])
        expect((await queueStore.readBacklog()).count).toBe(2)
      })

      test('count for the limit of their owner', async () => {
        const limited = { limit: 2 }
        await insert({ engine: OTHER_ENGINE }, limited)
        await insert({ engine: 'kie-jobs' }, limited)
        expect((await insert({}, limited)).insertion).toEqual({ inserted: false, refusal: 'full' })
        expect((await insert({ owner: 'bob' }, limited)).insertion.inserted).toBe(true)
      })

      test('do not count for the limit twice, however many arrive for two engines at once', async () => {
        const arrived = await Promise.all(
          Array.from({ length: 30 }, (_, n) =>
            insert(
              { engine: n % 3 === 0 ? ENGINE : OTHER_ENGINE },
              { limit: 10 },
              n % 2 === 0 ? stores : other,
            ),
          ),
        )
        expect(arrived.filter(({ insertion }) => insertion.inserted)).toHaveLength(10)
      })

      test('are not measured', async () => {
        const settled = { status: 'SUCCEEDED', createdAt: 1, sentAt: 2, settledAt: 5 } as const
        await stores.store.insert(newTask({ ...settled, engine: OTHER_ENGINE }), {})
        expect(await stores.queueStore.readTimes(ENGINE, 10)).toEqual([])
        expect(await stores.queueStore.readTimes(OTHER_ENGINE, 10)).toEqual([
          { createdAt: 1, sentAt: 2, queueAhead: null, settledAt: 5 },
        ])
      })

      test('leave for its queue when they move on', async () => {
        const { task } = await insert({ engine: OTHER_ENGINE })
        const stored = await read(task)
        const moved = { ...stored, engine: ENGINE, queueRank: 0, revision: stored.revision + 1 }
        expect(await stores.store.update(stored, moved)).toBe('updated')
        expect(await claimOther()).toEqual([])
        expect(idsOf(await claim())).toEqual([task.id])
      })
    })

    test('the next task may be sent when the first lease or pause ends; never if none waits', async () => {
      const { queueStore } = stores
      expect(await queueStore.nextQueueDueAt(ENGINE, NOW)).toBeNull()
      const [task] = await insertFor('a')
      await insert({ queueDueAt: NOW + 20_000 })
      expect(await queueStore.nextQueueDueAt(ENGINE, NOW)).toBe(NOW)
      await claim()
      expect(await queueStore.nextQueueDueAt(ENGINE, NOW)).toBe(LEASE_UNTIL)
      await leave(task)
      expect(await queueStore.nextQueueDueAt(ENGINE, NOW)).toBe(NOW + 20_000)
    })

    test('a task past its deadline is not claimed', async () => {
      await insert({ deadlineAt: NOW })
      expect(await claim()).toEqual([])
    })

    test('positions, their number and the turn are those of the waiting tasks', async () => {
      const { queueStore } = stores
      expect(await queueStore.readBacklog()).toEqual({ count: 0, oldestCreatedAt: null })
      expect(await queueStore.readTurn(ENGINE, NOW)).toBeNull()
      const tasks = await insertFor('alice', 'alice', 'bob')
      const [a1, a2, b1] = tasks.map(({ id }) => id)
      const oldestCreatedAt = Math.min(...tasks.map(({ createdAt }) => createdAt))
      expect(await queueStore.readBacklog()).toEqual({ count: 3, oldestCreatedAt })
      expect(await Promise.all([a1, b1, a2].map((id = '') => queueStore.readPosition(id)))).toEqual([1, 3, 2])
      expect(await queueStore.readPosition('unknown')).toBeNull()
      expect([await queueStore.hasMoreThan(ENGINE, 2), await queueStore.hasMoreThan(ENGINE, 3)]).toEqual([
        true,
        false,
      ])
      expect([await queueStore.readTurn(ENGINE, NOW - 1), await queueStore.readTurn(ENGINE, NOW)]).toEqual([
        null,
        1,
      ])
    })

    test('times are those of the tasks that settled last, without those that were never sent or were refused', async () => {
      const settled = { status: 'SUCCEEDED', createdAt: 1, sentAt: 2, queueAhead: 7 } as const
      for (const settledAt of [30, 10, 40, 20])
        await stores.store.insert(newTask({ ...settled, settledAt }), {})
      await stores.store.insert(newTask({ ...settled, status: 'PROCESSING' }), {})
      const canceled = { ...settled, status: 'FAILED', failedBy: 'REFUSAL', sentAt: null } as const
      await stores.store.insert(newTask({ ...canceled, settledAt: 35 }), {})
      await stores.store.insert(newTask({ ...canceled, sentAt: 2, settledAt: 36 }), {})
      const times = await stores.queueStore.readTimes(ENGINE, 3)
      expect(times.map(({ settledAt }) => settledAt)).toEqual([40, 30, 20])
      expect(times[0]).toEqual({ createdAt: 1, sentAt: 2, queueAhead: 7, settledAt: 40 })
    })
  })
}
