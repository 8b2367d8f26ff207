import { describe, expect, test } from '@jest/globals'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import { CLOCK_TOLERANCE_MS } from '../../src/tasks/store-port.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { watchOwner, type OwnerEvent, type OwnerRequest } from '../../src/tasks/watch/watch-owner.ts'
import type { WatchControl } from '../../src/tasks/watch/watch.ts'
import { ManualClock } from '../support/clock.ts'
import { collect } from '../support/gateway.ts'
import { newTask } from '../support/new-task.ts'
import { POLICY } from '../support/policy.ts'
import { createScriptedHints } from '../support/scripted-hints.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { waitFor } from '../support/wait-for.ts'

const AGO = 86_400_000

/** A real store, a clock that the test moves, and watchers of one owner's tasks. */
async function openScene() {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const { hints, listeners, deliver } = createScriptedHints()
  const { store } = opened.use(await openSqlite(`${dir.path}/t.db`, hints))
  let isAway = false
  let scans = 0
  let reads = 0
  let warnings = 0
  const fail = () => Promise.reject(new Error('The store is away'))
  const counted: Parameters<typeof watchOwner>[0]['store'] = {
    list: (query) => store.list(query),
    listChanges(query) {
      scans += 1
      return isAway ? fail() : store.listChanges(query)
    },
    readMany(ids) {
      reads += 1
      return isAway ? fail() : store.readMany(ids)
    },
  }
  const clock = new ManualClock()
  const tasks = new Map<string, UpscaleTask>()
  let control: WatchControl | undefined
  let closed = 0
  const log = { info: () => undefined, warn: () => void (warnings += 1), error: () => undefined }
  const rest = opened.move()
  return {
    clock,
    listeners,
    scans: () => scans,
    reads: () => reads,
    warnings: () => warnings,
    closed: () => closed,
    control: () => control,
    away: (is: boolean) => void (isAway = is),
    deliver,
    /** Resolves once a watch waits. */
    waiting: () => waitFor(() => clock.pending === 1),
    watch: (request: Partial<OwnerRequest> = {}) =>
      watchOwner(
        { store: counted, hints, clock, log, policy: POLICY },
        {
          owner: 'owner',
          status: null,
          until: null,
          onOpen(opened) {
            control = opened
            return { [Symbol.dispose]: () => void (closed += 1) }
          },
          ...request,
        },
      ),
    /** A new task, changed now unless told otherwise. */
    async insert(id: string, changes: Partial<UpscaleTask> = {}) {
      const task = newTask({ id, createdAt: clock.now(), updatedAt: clock.now(), ...changes })
      await store.insert(task, {})
      tasks.set(id, task)
    },
    /** Commits the next version. */
    async move(id: string, changes: Partial<UpscaleTask> = {}) {
      const task = tasks.get(id)
      if (task === undefined) throw new Error(id)
      const { version, revision } = task
      const moved = { version: version + 1, revision: revision + 1, updatedAt: clock.now() }
      const next = { ...task, ...moved, ...changes }
      expect(await store.update(task, next)).toBe('updated')
      tasks.set(id, next)
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** An event in short: `a2` is version 2 of task a. */
const toText = (event: OwnerEvent | undefined) =>
  typeof event === 'object' ? `${event.id}${event.version}` : event
type Watch = AsyncIterator<OwnerEvent, undefined>
const next = async (watch: Watch) => toText((await watch.next()).value)
const take = async (watch: Watch, count: number) => {
  const events = []
  for (let n = 0; n < count; n += 1) events.push(await next(watch))
  return events
}

describe('watching all tasks of an owner', () => {
  test('begins with the current tasks, the newest first, and follows them and new ones', async () => {
    await using scene = await openScene()
    await scene.insert('a', { createdAt: 1 })
    await scene.insert('b', { createdAt: 2, status: 'FAILED' })
    await scene.insert('foreign', { owner: 'another' })
    const watch = scene.watch()
    expect(await take(watch, 2)).toEqual(['b1', 'a1'])
    const third = next(watch)
    await scene.move('foreign')
    await scene.insert('new')
    expect(await third).toBe('new1')
    await scene.move('a', { status: 'SUCCEEDED' })
    expect(await next(watch)).toBe('a2')
    // A late success: the stream does not end with a settled state.
    await scene.move('b', { status: 'SUCCEEDED' })
    expect(await next(watch)).toBe('b2')
    expect(scene.reads()).toBe(0)
    await watch.return?.()
  })

  test('begins with a hundred at most; the others are sent when they change, and not before', async () => {
    await using scene = await openScene()
    for (let n = 0; n < 103; n += 1) await scene.insert(`t${n}-`, { createdAt: n })
    const watch = scene.watch()
    const current = await take(watch, 100)
    expect([current[0], current.at(-1)]).toEqual(['t102-1', 't3-1'])
    const later = next(watch)
    await scene.waiting()
    // A full scan finds nothing new.
    scene.clock.advance(POLICY.reassertMs)
    await scene.waiting()
    await scene.move('t1-')
    expect(await later).toBe('t1-2')
    await watch.return?.()
  })

  test('with a status, sends the tasks that have it and those that come to it', async () => {
    await using scene = await openScene()
    await scene.insert('a', { status: 'PROCESSING' })
    await scene.insert('b')
    const watch = scene.watch({ status: 'PROCESSING' })
    expect(await next(watch)).toBe('a1')
    const second = next(watch)
    await scene.move('a', { status: 'FAILED' })
    await scene.insert('c')
    await scene.move('b', { status: 'PROCESSING' })
    expect(await second).toBe('b2')
    await scene.move('c', { status: 'PROCESSING' })
    await scene.move('c', { status: 'FAILED' })
    const third = next(watch)
    await scene.move('b', { version: 3 })
    expect(await third).toBe('b3')
    await watch.return?.()
  })

  test('misses no change that is committed while it begins', async () => {
    await using scene = await openScene()
    await scene.insert('a')
    const watch = scene.watch()
    const seen: unknown[] = []
    const isComplete = () => seen.includes('a2') && seen.includes('b1')
    const reading = (async () => {
      while (!isComplete()) seen.push(await next(watch))
    })()
    await scene.move('a')
    await scene.insert('b')
    await waitFor(() => {
      scene.clock.advance(50)
      return isComplete()
    })
    await reading
    await watch.return?.()
  })

  test('reads what has changed after a hint without a state, once for many hints', async () => {
    await using scene = await openScene()
    for (const id of ['a', 'b']) await scene.insert(id)
    scene.deliver('bare')
    const watch = scene.watch()
    await take(watch, 2)
    const first = next(watch)
    await scene.waiting()
    await scene.move('a')
    expect(await first).toBe('a2')
    const scans = scene.scans()
    const second = next(watch)
    await scene.waiting()
    for (let n = 0; n < 20; n += 1) for (const id of ['a', 'b']) await scene.move(id)
    expect(scene.scans()).toBe(scans)
    scene.clock.advance(250)
    expect([await second, await next(watch)].sort()).toEqual(['a22', 'b21'])
    expect(scene.scans()).toBe(scans + 1)
    await watch.return?.()
  })

  test.each([
    ['now', 0],
    ['five minutes ago, by the clock of another replica', -CLOCK_TOLERANCE_MS],
    ['in an hour, by the clock of another replica', 3_600_000],
  ])('sends a change without a hint after an interval, although it is dated %s', async (_name, skew) => {
    await using scene = await openScene()
    for (const id of ['a', 'b']) await scene.insert(id, { updatedAt: scene.clock.now() - AGO })
    const watch = scene.watch()
    await take(watch, 2)
    scene.deliver('lost')
    const third = next(watch)
    await scene.waiting()
    await scene.move('a', { updatedAt: scene.clock.now() + skew })
    scene.clock.advance(POLICY.reassertMs)
    expect(await third).toBe('a2')
    // Once only, and unchanged tasks not at all.
    const fourth = next(watch)
    for (let n = 0; n < 3; n += 1) {
      await scene.waiting()
      scene.clock.advance(POLICY.reassertMs)
    }
    await scene.waiting()
    scene.deliver('whole')
    await scene.move('b')
    expect(await fourth).toBe('b2')
    await watch.return?.()
  })

  test('finds changes after its clock was set back', async () => {
    await using scene = await openScene()
    await scene.insert('a')
    const watch = scene.watch()
    await next(watch)
    scene.deliver('lost')
    const second = next(watch)
    await scene.waiting()
    scene.clock.step(-AGO)
    await scene.move('a')
    scene.clock.advance(POLICY.reassertMs)
    expect(await second).toBe('a2')
    await watch.return?.()
  })

  test('gives a slow reader the newest state of each task, also of more than it keeps', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    const first = next(watch)
    await scene.waiting()
    await scene.insert('first')
    expect(await first).toBe('first1')
    for (let n = 0; n < 700; n += 1) await scene.insert(`t${n}-`)
    for (let version = 2; version < 5; version += 1)
      for (let n = 0; n < 700; n += 1) await scene.move(`t${n}-`)
    const events = await take(watch, 500)
    const rest = take(watch, 200)
    const from = scene.clock.elapsed()
    await waitFor(() => {
      if (scene.scans() < 2) scene.clock.advance(50)
      return scene.reads() >= 2
    })
    expect(new Set([...events, ...(await rest)])).toEqual(
      new Set(Array.from({ length: 700 }, (_, n) => `t${n}-4`)),
    )
    // Before a full scan was due.
    expect(scene.clock.elapsed() - from).toBeLessThan(POLICY.reassertMs)
    await watch.return?.()
  })

  test('continues after the store has failed', async () => {
    await using scene = await openScene()
    await scene.insert('a')
    const watch = scene.watch()
    await next(watch)
    scene.deliver('bare')
    const second = next(watch)
    await scene.waiting()
    scene.away(true)
    await scene.move('a')
    scene.clock.advance(250)
    await waitFor(() => scene.warnings() === 1)
    scene.away(false)
    await scene.waiting()
    scene.clock.advance(1_000)
    expect(await second).toBe('a2')
    await watch.return?.()
  })

  test('fails if the current tasks cannot be read', async () => {
    await using scene = await openScene()
    scene.away(true)
    await expect(scene.watch().next()).rejects.toThrow('The store is away')
    expect([scene.listeners(), scene.clock.pending, scene.closed()]).toEqual([0, 0, 1])
  })

  test('ends at once when its reader leaves while it waits, and leaves nothing behind', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    const waiting = watch.next()
    await scene.waiting()
    await watch.return?.()
    expect(await waiting).toEqual({ done: true, value: undefined })
    expect([scene.listeners(), scene.clock.pending, scene.closed()]).toEqual([0, 0, 1])
  })

  test('ends before its first event without having listened', async () => {
    await using scene = await openScene()
    const watch = scene.watch()
    await watch.return?.()
    expect([await next(watch), scene.listeners(), scene.closed()]).toEqual([undefined, 0, 1])
  })

  test('reads changes on request, and ends when the service stops', async () => {
    await using scene = await openScene()
    await scene.insert('a')
    const watch = scene.watch()
    await next(watch)
    scene.deliver('lost')
    const second = next(watch)
    await scene.waiting()
    await scene.move('a')
    scene.control()?.repeat()
    expect(await second).toBe('a2')
    scene.control()?.end()
    expect((await collect(watch)).map(toText)).toEqual(['GOING_AWAY'])
    expect([scene.listeners(), scene.clock.pending, scene.closed()]).toEqual([0, 0, 1])
  })

  test('ends when the authorization expires, before any waiting state', async () => {
    await using scene = await openScene()
    await scene.insert('a')
    const watch = scene.watch({ until: scene.clock.now() + 1_000 })
    await next(watch)
    const waiting = next(watch)
    await scene.waiting()
    scene.clock.advance(1_000)
    expect([await waiting, await next(watch)]).toEqual(['EXPIRED', undefined])
    const late = scene.watch({ until: scene.clock.now() + 1_000 })
    expect(await next(late)).toBe('a1')
    await scene.move('a')
    scene.clock.advance(1_000)
    expect((await collect(late)).map(toText)).toEqual(['EXPIRED'])
    expect(scene.listeners()).toBe(0)
  })
})
