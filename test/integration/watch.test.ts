import { describe, expect, test } from '@jest/globals'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import type { WatchEvent } from '../../src/tasks/watch/watch-state.ts'
import { watchTask, type WatchControl, type WatchRequest } from '../../src/tasks/watch/watch.ts'
import { ManualClock } from '../support/clock.ts'
import { collect } from '../support/gateway.ts'
import { newTask, NO_PLACES } from '../support/new-task.ts'
import { POLICY } from '../support/policy.ts'
import { createScriptedHints } from '../support/scripted-hints.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { waitFor } from '../support/wait-for.ts'

const REASSERT_MS = POLICY.reassertMs

/** A real store with one task in it, a clock that the test moves, and watchers. */
async function openScene(changes: Partial<UpscaleTask> = {}) {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const { hints, listeners, deliver, release } = createScriptedHints()
  const { store } = opened.use(await openSqlite(`${dir.path}/t.db`, hints))
  let reads = 0
  let warnings = 0
  let away = false
  const counted: typeof store = Object.assign(Object.create(store) as typeof store, {
    read(id: string) {
      reads += 1
      return away ? Promise.reject(new Error('The store is away')) : store.read(id)
    },
  })
  const clock = new ManualClock()
  let task = newTask(changes)
  await store.insert(task, {})
  const rest = opened.move()
  return {
    id: task.id,
    clock,
    reads: () => reads,
    warnings: () => warnings,
    /** Resolves once the watch has read the task so often, and waits. */
    waiting: (count = 1) => waitFor(() => reads === count && clock.pending > 0),
    listeners,
    /** Whether reads fail. */
    away: (is: boolean) => void (away = is),
    deliver,
    release,
    watch: (
      afterVersion: number | null = null,
      owner: string | null = 'owner',
      id = task.id,
      request: Partial<WatchRequest> = {},
    ) =>
      watchTask(
        {
          store: counted,
          hints,
          clock,
          log: { info: () => undefined, warn: () => void (warnings += 1), error: () => undefined },
          policy: POLICY,
          places: NO_PLACES,
        },
        { owner, id, afterVersion, until: null, ...request },
      ),
    /** Commits the next version. */
    async move(move: Partial<UpscaleTask> = {}) {
      const next = { ...task, version: task.version + 1, revision: task.revision + 1, ...move }
      expect(await store.update(task, next)).toBe('updated')
      task = next
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

const toTask = (event: WatchEvent | undefined) => (typeof event === 'object' ? event : undefined)
const version = ({ value }: IteratorResult<WatchEvent, WatchEvent | undefined>) => toTask(value)?.version

describe('watching a task', () => {
  test('begins with the current state, follows every move and ends with the settled one', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    expect(version(await watch.next())).toBe(1)
    const second = watch.next()
    await scene.move({ status: 'PROCESSING' })
    expect(version(await second)).toBe(2)
    const third = watch.next()
    await scene.move({ status: 'SUCCEEDED' })
    expect(version(await third)).toBe(3)
    expect(await watch.next()).toEqual({ done: true, value: undefined })
    expect(scene.listeners()).toBe(0)
    expect(scene.clock.pending).toBe(0)
  })

  test('misses no move that is committed between listening and the first read', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    const first = watch.next()
    await scene.move()
    // Either it was read before the commit, and heard of it, or after.
    const seen = [version(await first)]
    if (seen[0] === 1) seen.push(version(await watch.next()))
    expect(seen.at(-1)).toBe(2)
  })

  test('a settled task is shown once, and nothing more', async () => {
    await using scene = await openScene({ status: 'FAILED' })
    expect((await collect(scene.watch())).map((event) => toTask(event)?.status)).toEqual(['FAILED'])
  })

  test.each([
    ['null', null, [7]],
    ['a lower one', 3, [7]],
    ['a higher one', 9, [7]],
    ['exactly the current one', 7, []],
  ] as const)('a settled task with afterVersion %s', async (_name, afterVersion, expected) => {
    await using scene = await openScene({ status: 'SUCCEEDED', version: 7 })
    const events = await collect(scene.watch(afterVersion))
    expect(events.map((event) => toTask(event)?.version)).toEqual(expected)
  })

  test('afterVersion equal to the current version spares the first event and none after it', async () => {
    await using scene = await openScene({ version: 4 })
    const watch = scene.watch(4)
    const first = watch.next()
    await scene.waiting()
    await scene.move()
    expect(version(await first)).toBe(5)
    await watch.return?.()
  })

  test('any other afterVersion, even a higher one, gets the current state and then follows', async () => {
    await using scene = await openScene({ version: 4 })
    const watch = scene.watch(99)
    expect(version(await watch.next())).toBe(4)
    const next = watch.next()
    await scene.move()
    expect(version(await next)).toBe(5)
    await watch.return?.()
  })

  test('the state is re-asserted after the interval without an event, and not before', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    await watch.next()
    const next = watch.next()
    await scene.waiting()
    scene.clock.advance(REASSERT_MS - 1)
    expect([scene.reads(), scene.clock.pending]).toEqual([1, 1])
    scene.clock.advance(1)
    expect(version(await next)).toBe(1)
    expect(scene.reads()).toBe(2)
    await watch.return?.()
  })

  test('a watcher that was spared the first event is re-asserted to as well', async () => {
    await using scene = await openScene({ version: 4 })
    const watch = scene.watch(4)
    const next = watch.next()
    await scene.waiting()
    scene.clock.advance(REASSERT_MS)
    expect(version(await next)).toBe(4)
    await watch.return?.()
  })

  test('a move that no hint told of is seen at the next re-assertion', async () => {
    await using scene = await openScene()
    scene.deliver('lost')
    const watch = scene.watch()
    await watch.next()
    const next = watch.next()
    await scene.move()
    scene.clock.advance(REASSERT_MS)
    expect(version(await next)).toBe(2)
    await watch.return?.()
  })

  test('1,000 moves while nobody reads cost no read and no queue; the reader gets the newest', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    await watch.next()
    const reads = scene.reads()
    for (let move = 0; move < 1_000; move += 1) await scene.move()
    expect(scene.reads()).toBe(reads)
    expect(version(await watch.next())).toBe(1_001)
    const more = watch.next()
    await scene.waiting()
    await watch.return?.()
    expect((await more).done).toBe(true)
  })

  test('a move whose hint brings the state is shown without a read', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    await watch.next()
    const reads = scene.reads()
    for (const expected of [2, 3, 4]) {
      const next = watch.next()
      await scene.move()
      expect(version(await next)).toBe(expected)
    }
    expect(scene.reads()).toBe(reads)
    await watch.return?.()
  })

  test('a state that comes late, after a newer one, is not shown', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    await watch.next()
    scene.deliver('late')
    for (let move = 0; move < 3; move += 1) await scene.move()
    const next = watch.next()
    await scene.waiting()
    scene.release()
    expect(version(await next)).toBe(4)
    const again = watch.next()
    scene.clock.advance(REASSERT_MS)
    expect(version(await again)).toBe(4)
    await watch.return?.()
  })

  test('of a state that came with a hint and a newer one to be read, the newer one is shown', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    await watch.next()
    await scene.move()
    scene.deliver('bare')
    await scene.move()
    expect(version(await watch.next())).toBe(3)
    const end = watch.next()
    await scene.move({ status: 'SUCCEEDED' })
    expect(version(await end)).toBe(4)
    expect((await watch.next()).done).toBe(true)
  })

  test('outlives a store that is away: it is read again after a second, and what came meanwhile is shown', async () => {
    await using scene = await openScene()
    scene.deliver('bare')
    const watch = scene.watch()
    expect(version(await watch.next())).toBe(1)
    const next = watch.next()
    await scene.waiting()
    scene.away(true)
    await scene.move()
    await waitFor(() => scene.warnings() === 1)
    scene.away(false)
    scene.clock.advance(1_000)
    expect(version(await next)).toBe(2)
    await watch.return?.()
  })

  test('one who has shown a right to the task by other means sees it, whoever it belongs to', async () => {
    await using scene = await openScene({ status: 'SUCCEEDED' })
    expect((await collect(scene.watch(null, null))).map(toTask)).toMatchObject([{ status: 'SUCCEEDED' }])
  })

  test('a right that ends is told so at that very instant, and the watch is over', async () => {
    await using scene = await openScene()
    const watch = scene.watch(null, 'owner', scene.id, { until: scene.clock.now() + 20_000 })
    expect(version(await watch.next())).toBe(1)
    const again = watch.next()
    scene.clock.advance(15_000)
    expect(version(await again)).toBe(1)
    const end = watch.next()
    scene.clock.advance(5_000)
    expect(await end).toEqual({ done: false, value: 'EXPIRED' })
    expect(await watch.next()).toEqual({ done: true, value: undefined })
    expect(scene.listeners()).toBe(0)
    expect(scene.clock.pending).toBe(0)
  })

  test('from outside a watch is asked to show its state once more, and to end', async () => {
    await using scene = await openScene()
    let control: WatchControl | undefined
    let closed = 0
    const onOpen = (opened: WatchControl) => {
      control = opened
      return { [Symbol.dispose]: () => void (closed += 1) }
    }
    const watch = scene.watch(null, 'owner', scene.id, { onOpen })
    expect(version(await watch.next())).toBe(1)
    const again = watch.next()
    control?.repeat()
    expect(version(await again)).toBe(1)
    const end = watch.next()
    control?.end()
    expect(await end).toEqual({ done: false, value: 'GOING_AWAY' })
    expect([await watch.next(), closed]).toEqual([{ done: true, value: undefined }, 1])
    expect(scene.clock.pending).toBe(0)
  })

  test.each([
    ['an unknown task', 'owner', 'nobody'],
    ["someone else's task", 'a stranger', undefined],
  ])('%s is NOT_FOUND, once', async (_name, owner, id) => {
    await using scene = await openScene()
    expect(await collect(scene.watch(null, owner, id ?? scene.id))).toEqual(['NOT_FOUND'])
    expect(scene.listeners()).toBe(0)
  })

  test('a watcher that leaves while it waits ends at once and leaves nothing behind', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    await watch.next()
    const waiting = watch.next()
    await watch.return?.()
    expect(await waiting).toEqual({ done: true, value: undefined })
    expect(scene.listeners()).toBe(0)
    expect(scene.clock.pending).toBe(0)
  })
})
