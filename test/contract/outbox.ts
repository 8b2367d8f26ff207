import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import type { Delivery } from '../../src/deliveries/outbox.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { newTask } from '../support/new-task.ts'
import type { OpenStores, Stores } from './task-store.ts'

const HOOK = 'https://example.com/hook'

/** What every Outbox must do; `setUp` gives a way to open one on a fresh database. */
export function describeOutbox(
  name: string,
  setUp: () => Promise<AsyncDisposable & { readonly open: OpenStores }>,
): void {
  describe(`${name} is an Outbox`, () => {
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

    const insert = async (callBackUrl: string | null = HOOK, changes: Partial<UpscaleTask> = {}) => {
      const task = newTask(changes)
      expect(await stores.store.insert(task, { callBackUrl })).toEqual({ inserted: true })
      return task
    }
    const settle = async (task: UpscaleTask, status: 'SUCCEEDED' | 'FAILED' = 'SUCCEEDED', at = 5_000) => {
      const next = {
        ...task,
        version: task.version + 1,
        revision: task.revision + 1,
        status,
        settledAt: at,
        updatedAt: at,
      }
      const deliveries = await stores.outbox.list([task.id])
      expect(await stores.store.update(task, next)).toBe(deliveries.length > 0 ? 'deliveriesDue' : 'updated')
      return next
    }
    const claim = (now = 9_000, limit = 100, hosts: string[] = [], owners: string[] = []) =>
      stores.outbox.claimDue(now, now + 1_000, limit, { hosts, owners })
    const only = async (taskId: string): Promise<Delivery> => {
      const [delivery] = await stores.outbox.list([taskId])
      if (delivery === undefined) throw new Error('There is none')
      return delivery
    }

    test('the backlog has the deliveries that are due or wait for a retry, and no others', async () => {
      const backlog = () => stores.outbox.readBacklog()
      const task = await insert()
      expect(await backlog()).toEqual({ count: 0, oldestDueAt: null })
      await settle(task)
      await settle(await insert(), 'FAILED', 6_000)
      expect(await backlog()).toEqual({ count: 2, oldestDueAt: 5_000 })
      const [first, second] = await claim()
      if (first === undefined || second === undefined) throw new Error('Two are due')
      const attempt = { attempts: 1, failures: 1, lastStatusCode: 500 }
      await stores.outbox.finish(first, { ...attempt, state: 'PENDING', dueAt: 20_000 })
      expect(await backlog()).toEqual({ count: 2, oldestDueAt: 6_000 })
      await stores.outbox.finish(second, { ...attempt, state: 'GAVE_UP', dueAt: null })
      expect(await backlog()).toEqual({ count: 1, oldestDueAt: 20_000 })
    })

    test('a task that was inserted with a URL owes it nothing until it settles', async () => {
      const task = await insert()
      const delivery = {
        taskId: task.id,
        owner: 'owner',
        url: HOOK,
        version: 0,
        state: 'PENDING',
        attempts: 0,
        failures: 0,
        dueSince: null,
        lastStatusCode: null,
        dueAt: null,
        leasedUntil: null,
      }
      expect(await stores.outbox.list([task.id])).toEqual([{ ...delivery, id: expect.any(String) }])
      expect(await claim()).toEqual([])
      await stores.store.update(task, { ...task, version: 2, revision: 2, status: 'PROCESSING' })
      expect(await claim()).toEqual([])
    })

    test('a task that settles owes each URL its state at once, in the same commit', async () => {
      const task = await insert()
      await stores.outbox.add(task.id, `${HOOK}2`, 1)
      await settle(task)
      expect(await stores.outbox.list([task.id])).toMatchObject([
        { url: HOOK, version: 2, state: 'PENDING', dueAt: 5_000 },
        { url: `${HOOK}2`, version: 2, state: 'PENDING', dueAt: 5_000 },
      ])
    })

    test('an update that loses, and one that moves nothing, owe nobody anything', async () => {
      const task = await insert()
      const settled = await settle(task)
      const [claimed] = (await claim()) as [Delivery]
      await stores.outbox.finish(claimed, {
        state: 'DELIVERED',
        attempts: 1,
        failures: 1,
        lastStatusCode: 200,
        dueAt: null,
      })
      await stores.store.update(task, { ...task, version: 2, revision: 2, status: 'FAILED' })
      await stores.store.update(settled, { ...settled, upstreamTaskId: 'u' })
      expect(await only(task.id)).toMatchObject({ state: 'DELIVERED', version: 2, dueAt: null })
    })

    test('a late success is owed anew, also to a URL that was told of the failure', async () => {
      const task = await insert()
      const failed = await settle(task, 'FAILED')
      const [claimed] = (await claim()) as [Delivery]
      await stores.outbox.finish(claimed, {
        state: 'GAVE_UP',
        attempts: 7,
        failures: 7,
        lastStatusCode: 500,
        dueAt: null,
      })
      await settle(failed, 'SUCCEEDED', 8_000)
      expect(await only(task.id)).toMatchObject({
        version: 3,
        state: 'PENDING',
        attempts: 0,
        failures: 0,
        lastStatusCode: null,
        dueAt: 8_000,
      })
    })

    test('while somebody is at a URL, newer news waits for the end of the lease, and is not taken for told', async () => {
      const task = await insert()
      const failed = await settle(task, 'FAILED')
      const [claimed] = (await claim()) as [Delivery]
      await settle(failed, 'SUCCEEDED', 8_000)
      expect(await claim(9_999)).toEqual([])
      await stores.outbox.finish(claimed, {
        state: 'DELIVERED',
        attempts: 1,
        failures: 1,
        lastStatusCode: 200,
        dueAt: null,
      })
      expect(await claim(9_999)).toMatchObject([{ version: 3, attempts: 0 }])
    })

    test('gives what is due, longest due first, and leases it; it is given again when the lease has ended', async () => {
      const [first, second] = [await insert(), await insert()]
      await settle(second, 'FAILED', 6_000)
      await settle(first, 'FAILED', 5_000)
      expect(await claim(4_999)).toEqual([])
      expect(await claim(6_000, 1)).toMatchObject([{ taskId: first.id, leasedUntil: 7_000 }])
      expect(await claim(6_000)).toMatchObject([{ taskId: second.id }])
      expect(await claim(6_999)).toEqual([])
      expect(await claim(7_000)).toHaveLength(2)
    })

    test('gives nothing to hosts that are excepted, however long it has been due', async () => {
      const [slow, other] = [await insert('https://slow.example.com:8443/x'), await insert()]
      await settle(slow, 'FAILED', 1)
      await settle(other)
      expect(await claim(9_000, 1, ['slow.example.com:8443', 'third.example.com'])).toMatchObject([
        { taskId: other.id },
      ])
      expect(await claim(9_000, 1, ['slow.example.com'])).toMatchObject([{ taskId: slow.id }])
    })

    test('gives nothing of owners that are excepted', async () => {
      const [hers, his] = [await insert(HOOK, { owner: 'alice' }), await insert(HOOK, { owner: 'bob' })]
      await settle(hers, 'FAILED', 1)
      await settle(his)
      expect(await claim(9_000, 1, [], ['alice', 'carol'])).toMatchObject([{ taskId: his.id, owner: 'bob' }])
    })

    test('an attempt that ends after a wish to begin anew is not recorded', async () => {
      const task = await insert()
      await settle(task)
      const [claimed] = (await claim()) as [Delivery]
      const attempt = {
        state: 'PENDING',
        attempts: 6,
        failures: 6,
        lastStatusCode: 500,
        dueAt: 9_500,
      } as const
      await stores.outbox.finish(claimed, attempt)
      const [last] = (await claim(9_500)) as [Delivery]
      await stores.outbox.redeliver(task.id, 9_600)
      expect(await claim(9_700)).toEqual([])
      await stores.outbox.finish(last, {
        state: 'GAVE_UP',
        attempts: 7,
        failures: 7,
        lastStatusCode: 500,
        dueAt: null,
      })
      expect(await claim(9_700)).toMatchObject([
        { state: 'PENDING', attempts: 0, failures: 0, lastStatusCode: null },
      ])
    })

    test('gives each of 200 deliveries to exactly one of many concurrent claimers', async () => {
      for (let n = 0; n < 200; n += 1) await settle(await insert())
      await using other = await database.open(createLocalHints())
      const claimed = await Promise.all(
        Array.from({ length: 60 }, (_, n) =>
          (n % 2 ? stores : other).outbox.claimDue(9_000, 99_000, 5, { hosts: [], owners: [] }),
        ),
      )
      const ids = claimed.flat().map(({ id }) => id)
      expect([ids.length, new Set(ids).size]).toEqual([200, 200])
    })

    test('finishing records the attempt and ends the lease', async () => {
      const task = await insert()
      await settle(task)
      const [claimed] = (await claim()) as [Delivery]
      await stores.outbox.finish(claimed, {
        state: 'PENDING',
        attempts: 1,
        failures: 1,
        lastStatusCode: 503,
        dueAt: 9_500,
      })
      expect(await only(task.id)).toMatchObject({
        attempts: 1,
        failures: 1,
        lastStatusCode: 503,
        dueAt: 9_500,
      })
      expect(await claim(9_499)).toEqual([])
      expect(await claim(9_500)).toMatchObject([{ attempts: 1 }])
    })

    test('finishing after the lease has passed to somebody else changes nothing', async () => {
      const task = await insert()
      await settle(task)
      const [slow] = (await claim(9_000)) as [Delivery]
      const [next] = (await claim(10_000)) as [Delivery]
      await stores.outbox.finish(slow, {
        state: 'GAVE_UP',
        attempts: 1,
        failures: 1,
        lastStatusCode: null,
        dueAt: null,
      })
      expect(await only(task.id)).toEqual(next)
    })

    test('a URL can be added, once, up to five; to a settled task it is owed at once', async () => {
      const task = await insert()
      for (const n of [1, 1, 2, 3, 4]) expect(await stores.outbox.add(task.id, `${HOOK}${n}`, 1)).toBe(true)
      expect(await stores.outbox.add(task.id, `${HOOK}5`, 1)).toBe(false)
      expect(await stores.outbox.add(task.id, HOOK, 1)).toBe(true)
      const urls = (await stores.outbox.list([task.id])).map(({ url }) => url)
      expect(urls).toEqual([HOOK, `${HOOK}1`, `${HOOK}2`, `${HOOK}3`, `${HOOK}4`])

      const settled = await settle(await insert(null))
      await stores.outbox.add(settled.id, HOOK, 7_000)
      expect(await only(settled.id)).toMatchObject({ version: 2, dueAt: 7_000 })
    })

    test('redelivering makes due once more what there is to tell, and nothing else', async () => {
      const [open, told] = [await insert(), await insert()]
      await settle(told)
      const [claimed] = (await claim()) as [Delivery]
      await stores.outbox.finish(claimed, {
        state: 'DELIVERED',
        attempts: 3,
        failures: 3,
        lastStatusCode: 200,
        dueAt: null,
      })
      await stores.outbox.redeliver(told.id, 20_000)
      await stores.outbox.redeliver(open.id, 20_000)
      expect(await claim(20_000)).toMatchObject([
        { taskId: told.id, attempts: 0, state: 'PENDING', version: 2 },
      ])
    })

    test('lists those of the tasks asked for, and goes with its task', async () => {
      const [one, two] = [await insert(), await insert()]
      await insert()
      expect((await stores.outbox.list([one.id, two.id])).map(({ taskId }) => taskId).sort()).toEqual(
        [one.id, two.id].sort(),
      )
      expect(await stores.outbox.list([])).toEqual([])
      await settle(one)
      await stores.store.removeSettled(6_000, 10)
      expect(await stores.outbox.list([one.id])).toEqual([])
    })
  })
}
