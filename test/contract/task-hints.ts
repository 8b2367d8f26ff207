import { randomUUID } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { toOwnerTopic } from '../../src/tasks/watch/owner-topic.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { newTask } from '../support/new-task.ts'

/** What every TaskHints must do. `open` gives hints that no other test uses. */
export function describeTaskHints(
  name: string,
  open: () => Promise<AsyncDisposable & { readonly hints: TaskHints }>,
): void {
  /** Listens, and offers a promise for the next hint. */
  const listen = async (hints: TaskHints, taskId: string) => {
    let heard = Promise.withResolvers<void>()
    let count = 0
    const listener = await hints.listen(taskId, () => {
      count += 1
      heard.resolve()
      heard = Promise.withResolvers()
    })
    return { listener, next: () => heard.promise, count: () => count }
  }

  describe(`${name} are TaskHints`, () => {
    test('a listener hears of its task, and only of its task', async () => {
      await using opened = await open()
      const mine = await listen(opened.hints, 'mine')
      const other = await listen(opened.hints, 'other')
      const next = mine.next()
      opened.hints.announce('mine')
      await next
      expect(other.count()).toBe(0)
    })

    test('in one process, a listener gets the state that was announced', async () => {
      await using opened = await open()
      const heard = Promise.withResolvers<UpscaleTask | undefined>()
      using _listener = await opened.hints.listen('task', (state) => heard.resolve(state))
      const state = newTask({ id: 'task', version: 7 })
      opened.hints.announce('task', state)
      expect(await heard.promise).toBe(state)
    })

    test('each of many listeners of one task hears of it, even if it is the same function', async () => {
      await using opened = await open()
      const all = await Promise.all(Array.from({ length: 5 }, () => listen(opened.hints, 'task')))
      const heard = Promise.all(all.map(({ next }) => next()))
      opened.hints.announce('task')
      await heard

      let calls = 0
      const wake = () => void (calls += 1)
      const first = await opened.hints.listen('twice', wake)
      const second = await opened.hints.listen('twice', wake)
      const probe = await listen(opened.hints, 'twice')
      first[Symbol.dispose]()
      const next = probe.next()
      opened.hints.announce('twice')
      await next
      expect(calls).toBe(1)
      second[Symbol.dispose]()
    })

    test('a listener that was disposed of hears nothing more; the others still do', async () => {
      await using opened = await open()
      const gone = await listen(opened.hints, 'task')
      const stays = await listen(opened.hints, 'task')
      gone.listener[Symbol.dispose]()
      const next = stays.next()
      opened.hints.announce('task')
      await next
      expect(gone.count()).toBe(0)
    })

    test('listening again after all have gone works, and disposing twice harms nobody', async () => {
      await using opened = await open()
      const first = await listen(opened.hints, 'task')
      first.listener[Symbol.dispose]()
      const second = await listen(opened.hints, 'task')
      first.listener[Symbol.dispose]()
      const next = second.next()
      opened.hints.announce('task')
      await next
      expect(second.count()).toBe(1)
    })

    test('announcing a task that nobody listens to does nothing', async () => {
      await using opened = await open()
      expect(() => opened.hints.announce('nobody')).not.toThrow()
    })
  })
}

/**
 * What TaskHints that replicas share must do besides; each `open` gives another replica of the same fleet.
 */
export function describeSharedHints(
  name: string,
  setUp: () => Promise<
    AsyncDisposable & {
      open(): Promise<TaskHints & AsyncDisposable>
      /** Cuts all connections of all replicas, which can be made anew at once. */
      cut(): Promise<void>
    }
  >,
): void {
  describe(`${name} reach other replicas`, () => {
    const hear = async (hints: TaskHints, taskId: string) => {
      const heard = Promise.withResolvers<void>()
      let count = 0
      const listener = await hints.listen(taskId, () => {
        count += 1
        heard.resolve()
      })
      return { heard: heard.promise, count: () => count, listener }
    }

    test('whoever listens there hears of its task, once, and of no other', async () => {
      await using fleet = await setUp()
      await using one = await fleet.open()
      await using two = await fleet.open()
      // Owners have topics, too.
      const [mine, other] = [toOwnerTopic(randomUUID()), randomUUID()]
      const [local, remote, stranger] = [await hear(one, mine), await hear(two, mine), await hear(two, other)]
      one.announce(mine)
      await Promise.all([local.heard, remote.heard])
      const probe = await hear(two, randomUUID())
      one.announce(other)
      await stranger.heard
      expect([local.count(), remote.count(), probe.count()]).toEqual([1, 1, 0])
    })

    test('a thousand hints at once all arrive', async () => {
      await using fleet = await setUp()
      await using one = await fleet.open()
      await using two = await fleet.open()
      const ids = Array.from({ length: 1_000 }, () => randomUUID())
      const heard = await Promise.all(ids.map((id) => hear(two, id)))
      for (const id of ids) one.announce(id)
      await Promise.all(heard.map((each) => each.heard))
    })

    test('when the connection was lost everyone is woken, and hints are heard again', async () => {
      await using fleet = await setUp()
      await using one = await fleet.open()
      await using two = await fleet.open()
      const id = randomUUID()
      const woken = await hear(two, id)
      await fleet.cut()
      await woken.heard
      // The other replica may still be on its way back: what it says then may be lost, as any hint may.
      const again = await hear(two, id)
      const said = setInterval(() => one.announce(id), 20)
      await again.heard
      clearInterval(said)
    })

    test('many come and go on one task, and those who stay still hear', async () => {
      await using fleet = await setUp()
      await using one = await fleet.open()
      await using two = await fleet.open()
      const id = randomUUID()
      for (let n = 0; n < 20; n += 1) {
        const gone = await hear(two, id)
        const stays = await hear(two, id)
        gone.listener[Symbol.dispose]()
        gone.listener[Symbol.dispose]()
        one.announce(id)
        await stays.heard
        stays.listener[Symbol.dispose]()
      }
    })
  })
}
