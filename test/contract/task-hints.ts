import { describe, expect, test } from '@jest/globals'
import type { TaskHints } from '../../src/tasks/ports.ts'

/** What every TaskHints must do. `open` gives hints that nobody else uses. */
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
