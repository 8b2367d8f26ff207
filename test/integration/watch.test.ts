import { describe, expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { watchTask, type WatchControl, type WatchEvent, type WatchRequest } from '../../src/tasks/watch.ts'
import { ManualClock } from '../support/clock.ts'
import { collect } from '../support/gateway.ts'
import { newTask } from '../support/new-task.ts'
import { POLICY } from '../support/policy.ts'
import { openTempDir } from '../support/temp-dir.ts'

const REASSERT_MS = POLICY.reassertMs
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

/** A real store with one task in it, a clock that the test moves, and watchers. */
async function openScene(changes: Partial<UpscaleTask> = {}) {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const local = createLocalHints()
  let listeners = 0
  let fate: 'whole' | 'bare' | 'late' | 'lost' = 'whole'
  const late: (() => void)[] = []
  const hints: TaskHints = {
    announce(taskId, state) {
      if (fate === 'whole') local.announce(taskId, state)
      if (fate === 'bare') local.announce(taskId)
      if (fate === 'late') late.unshift(() => local.announce(taskId, state))
    },
    async listen(taskId, wake) {
      const listener = await local.listen(taskId, wake)
      listeners += 1
      return {
        [Symbol.dispose]() {
          listeners -= 1
          listener[Symbol.dispose]()
        },
      }
    },
  }
  const { store } = opened.use(await openSqlite(`${dir.path}/t.db`, hints))
  let reads = 0
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
    listeners: () => listeners,
    /** Whether reads fail. */
    away: (is: boolean) => void (away = is),
    /** What befalls hints from now on; bare ones come without the state, as those of other replicas do. */
    hints: (next: typeof fate) => void (fate = next),
    /** Lets the late hints come, the last one first. */
    release: () => late.splice(0).forEach((announce) => announce()),
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
          log: silent,
          policy: POLICY,
        },
        { owner, id, afterVersion, until: null, ...request },
      ),
    /** Commits the next version. */
    async move(move: Partial<UpscaleTask> = {}) {
      const next = { ...task, version: task.version + 1, ...move }
      expect(await store.update(task, next)).toBe('updated')
      task = next
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

const toTask = (event: WatchEvent | undefined) => (typeof event === 'object' ? event : undefined)
const version = ({ value }: IteratorResult<WatchEvent, WatchEvent | undefined>) => toTask(value)?.version

/** Lets everything that can run without the clock run: the macrotask queue, several times round. */
async function settle() {
  for (let round = 0; round < 20; round += 1) await new Promise((resolve) => setImmediate(resolve))
}

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
    await settle()
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
    let again: unknown
    const next = watch.next().then((event) => (again = version(event)))
    await settle()
    scene.clock.advance(REASSERT_MS - 1)
    await settle()
    expect(again).toBeUndefined()
    scene.clock.advance(1)
    await next
    expect(again).toBe(1)
    await watch.return?.()
  })

  test('a watcher that was spared the first event is re-asserted to as well', async () => {
    await using scene = await openScene({ version: 4 })
    const watch = scene.watch(4)
    const next = watch.next()
    await settle()
    scene.clock.advance(REASSERT_MS)
    expect(version(await next)).toBe(4)
    await watch.return?.()
  })

  test('a move that no hint told of is seen at the next re-assertion', async () => {
    await using scene = await openScene()
    scene.hints('lost')
    const watch = scene.watch()
    await watch.next()
    const next = watch.next()
    await settle()
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
    let more = false
    void watch.next().then(() => (more = true))
    await settle()
    expect(more).toBe(false)
    await watch.return?.()
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
    scene.hints('late')
    for (let move = 0; move < 3; move += 1) await scene.move()
    const next = watch.next()
    await settle()
    scene.release()
    expect(version(await next)).toBe(4)
    const again = watch.next()
    await settle()
    scene.clock.advance(REASSERT_MS)
    expect(version(await again)).toBe(4)
    await watch.return?.()
  })

  test('of a state that came with a hint and a newer one to be read, the newer one is shown', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    await watch.next()
    await scene.move()
    scene.hints('bare')
    await scene.move()
    expect(version(await watch.next())).toBe(3)
    const end = watch.next()
    await scene.move({ status: 'SUCCEEDED' })
    expect(version(await end)).toBe(4)
    expect((await watch.next()).done).toBe(true)
  })

  test('outlives a store that is away: it is read again after a second, and what came meanwhile is shown', async () => {
    await using scene = await openScene()
    scene.hints('bare')
    const watch = scene.watch()
    expect(version(await watch.next())).toBe(1)
    const next = watch.next()
    await settle()
    scene.away(true)
    await scene.move()
    await settle()
    scene.away(false)
    scene.clock.advance(1_000)
    expect(version(await next)).toBe(2)
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
    await settle()
    scene.clock.advance(15_000)
    expect(version(await again)).toBe(1)
    const end = watch.next()
    await settle()
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
    await settle()
    control?.repeat()
    expect(version(await again)).toBe(1)
    const end = watch.next()
    await settle()
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
    await settle()
    await watch.return?.()
    expect(await waiting).toEqual({ done: true, value: undefined })
    expect(scene.listeners()).toBe(0)
    expect(scene.clock.pending).toBe(0)
  })
})

describe('a watch that gives its events away', () => {
  /** Watches, and keeps what is given; `busy` is what the taker answers with from then on. */
  async function give(scene: Awaited<ReturnType<typeof openScene>>, request: Partial<WatchRequest> = {}) {
    const given: (number | string)[] = []
    const taker = {
      given,
      busy: undefined as Promise<void> | undefined,
      fault: undefined as Error | undefined,
    }
    const watch = scene.watch(null, 'owner', scene.id, request)
    const ended = watch.giveTo((event) => {
      given.push(typeof event === 'string' ? event : event.version)
      if (taker.fault) throw taker.fault
      return taker.busy
    })
    await settle()
    return Object.assign(taker, { watch, ended })
  }

  test('gives a state within its announcement, without reading it, and resolves after the settled one', async () => {
    await using scene = await openScene()
    const taker = await give(scene)
    expect([taker.given, scene.reads()]).toEqual([[1], 1])
    await scene.move({ status: 'PROCESSING' })
    expect([taker.given, scene.reads()]).toEqual([[1, 2], 1])
    await scene.move({ status: 'SUCCEEDED' })
    expect([taker.given, scene.reads()]).toEqual([[1, 2, 3], 1])
    await taker.ended
    expect([scene.listeners(), scene.clock.pending]).toEqual([0, 0])
  })

  test('gives nothing to a taker who is busy, and the newest state when it is free', async () => {
    await using scene = await openScene()
    const taker = await give(scene)
    const { promise, resolve } = Promise.withResolvers<void>()
    taker.busy = promise
    await scene.move()
    taker.busy = undefined
    await scene.move()
    await scene.move()
    await settle()
    expect(taker.given).toEqual([1, 2])
    resolve()
    await settle()
    expect(taker.given).toEqual([1, 2, 4])
    await scene.move()
    expect(taker.given).toEqual([1, 2, 4, 5])
    await taker.watch.return?.()
    await taker.ended
  })

  test('reads at a bare hint, shows no older state than before, and re-asserts after the whole time', async () => {
    await using scene = await openScene()
    const taker = await give(scene)
    scene.hints('late')
    await scene.move()
    await scene.move()
    scene.release()
    await settle()
    expect(taker.given).toEqual([1, 3])
    scene.hints('bare')
    await scene.move()
    await settle()
    expect(taker.given).toEqual([1, 3, 4])
    scene.hints('whole')
    scene.clock.advance(REASSERT_MS - 1)
    await scene.move()
    scene.clock.advance(REASSERT_MS - 1)
    await settle()
    expect(taker.given).toEqual([1, 3, 4, 5])
    scene.clock.advance(1)
    await settle()
    expect(taker.given).toEqual([1, 3, 4, 5, 5])
    await taker.watch.return?.()
    await taker.ended
  })

  test('ends with why, when the right to watch is over, and not with a state that comes after it', async () => {
    await using scene = await openScene()
    const taker = await give(scene, { until: scene.clock.now() + 1_000 })
    scene.clock.advance(1_000)
    await scene.move()
    await taker.ended
    expect(taker.given).toEqual([1, 'EXPIRED'])
    expect([scene.listeners(), scene.clock.pending]).toEqual([0, 0])
  })

  test('says that the right to watch is over also where a state comes before the alarm does', async () => {
    await using scene = await openScene()
    const taker = await give(scene, { until: scene.clock.now() + 1_000 })
    scene.clock.lag(1_000)
    await scene.move()
    await taker.ended
    expect(taker.given).toEqual([1, 'EXPIRED'])
  })

  test('leaves nothing behind when the very first is not taken', async () => {
    await using scene = await openScene()
    const fault = () => {
      throw new Error('The taker is broken')
    }
    await expect(scene.watch().giveTo(fault)).rejects.toThrow('The taker is broken')
    expect([scene.listeners(), scene.clock.pending]).toEqual([0, 0])
  })

  test('rejects with what the taker throws, disturbs nobody else, and leaves nothing behind', async () => {
    await using scene = await openScene()
    const taker = await give(scene)
    const other = await give(scene)
    taker.fault = new Error('The taker is broken')
    const failed = expect(taker.ended).rejects.toThrow('The taker is broken')
    await scene.move()
    await failed
    expect([other.given, scene.listeners()]).toEqual([[1, 2], 1])
    await other.watch.return?.()
    await other.ended
  })
})
