import { describe, expect, test } from '@jest/globals'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { watchGroup, type GroupEvent, type GroupRequest } from '../../src/tasks/watch/watch-group.ts'
import type { WatchControl } from '../../src/tasks/watch/watch.ts'
import { ManualClock } from '../support/clock.ts'
import { collect } from '../support/gateway.ts'
import { newTask, NO_PLACES } from '../support/new-task.ts'
import { POLICY } from '../support/policy.ts'
import { createScriptedHints } from '../support/scripted-hints.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { waitFor } from '../support/wait-for.ts'

/** A real store with the tasks a, b and c, a clock that the test moves, and groups that follow them. */
async function openScene() {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const { hints, listeners, deliver } = createScriptedHints()
  const { store } = opened.use(await openSqlite(`${dir.path}/t.db`, hints))
  let isAway = false
  let reads = 0
  const counted: typeof store = Object.assign(Object.create(store) as typeof store, {
    read(id: string) {
      reads += 1
      return isAway ? Promise.reject(new Error('The store is away')) : store.read(id)
    },
  })
  const clock = new ManualClock()
  const tasks = new Map<string, UpscaleTask>()
  for (const id of ['a', 'b', 'c']) {
    tasks.set(id, newTask({ id }))
    await store.insert(newTask({ id }), {})
  }
  await store.insert(newTask({ id: 'foreign', owner: 'another' }), {})
  let control: WatchControl | undefined
  let closed = 0
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined }
  const rest = opened.move()
  return {
    clock,
    listeners,
    reads: () => reads,
    closed: () => closed,
    control: () => control,
    /** Makes reads fail. */
    away: () => void (isAway = true),
    deliver,
    watch: (ids: readonly string[], versions: readonly number[] = [], request: Partial<GroupRequest> = {}) =>
      watchGroup(
        { store: counted, hints, clock, log, policy: POLICY, places: NO_PLACES },
        {
          owner: 'owner',
          tasks: ids.map((id, index) => ({ id, afterVersion: versions[index] ?? null })),
          until: null,
          onOpen(opened) {
            control = opened
            return { [Symbol.dispose]: () => void (closed += 1) }
          },
          ...request,
        },
      ),
    /** Commits the next version. */
    async move(id: string, changes: Partial<UpscaleTask> = {}) {
      const task = tasks.get(id)
      if (task === undefined) throw new Error(id)
      const next = { ...task, version: task.version + 1, revision: task.revision + 1, ...changes }
      expect(await store.update(task, next)).toBe('updated')
      tasks.set(id, next)
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** An event in short: `a2` is version 2 of task a. */
const toText = (event: GroupEvent | undefined) => {
  if (typeof event !== 'object') return event
  return 'unknownId' in event ? `${event.unknownId}?` : `${event.id}${event.version}`
}
type Group = AsyncIterator<GroupEvent, undefined>
const next = async (group: Group) => toText((await group.next()).value)
const take = async (group: Group, count: number) => {
  const events = []
  for (let n = 0; n < count; n += 1) events.push(await next(group))
  return events
}

describe('watching several tasks', () => {
  test('begins with all current states, follows each task, and ends when all have settled', async () => {
    await using scene = await openScene()
    const group = scene.watch(['a', 'b'])
    expect((await take(group, 2)).sort()).toEqual(['a1', 'b1'])
    const second = next(group)
    await scene.move('b', { status: 'SUCCEEDED' })
    expect(await second).toBe('b2')
    const third = next(group)
    await scene.move('a', { status: 'PROCESSING' })
    expect(await third).toBe('a2')
    const fourth = next(group)
    await scene.move('a', { status: 'FAILED' })
    expect([await fourth, (await group.next()).done]).toEqual(['a3', true])
    expect([scene.listeners(), scene.clock.pending, scene.closed()]).toEqual([0, 0, 1])
  })

  test('reports unknown ids and those of other owners once each, and follows the others', async () => {
    await using scene = await openScene()
    const group = scene.watch(['a', 'nobody', 'foreign', 'b'])
    expect((await take(group, 4)).sort()).toEqual(['a1', 'b1', 'foreign?', 'nobody?'])
    const later = next(group)
    await scene.move('a', { status: 'SUCCEEDED' })
    expect(await later).toBe('a2')
    await scene.move('b', { status: 'SUCCEEDED' })
    expect((await collect(group)).map(toText)).toEqual(['b2'])
  })

  test('ends after the errors if all ids are unknown', async () => {
    await using scene = await openScene()
    expect((await collect(scene.watch(['x', 'y']))).map(toText).sort()).toEqual(['x?', 'y?'])
    expect(scene.listeners()).toBe(0)
  })

  test('omits the first event of each task whose version is known', async () => {
    await using scene = await openScene()
    const group = scene.watch(['a', 'b', 'c'], [1, 7, 1])
    expect(await next(group)).toBe('b1')
    const later = next(group)
    await scene.move('c')
    expect(await later).toBe('c2')
    await group.return?.()
  })

  test('asserts each state again after the interval without an event of its task', async () => {
    await using scene = await openScene()
    const group = scene.watch(['a', 'b'])
    await take(group, 2)
    const moved = next(group)
    await waitFor(() => scene.clock.pending === 2)
    scene.clock.advance(POLICY.reassertMs - 1)
    await scene.move('a')
    expect(await moved).toBe('a2')
    const again = next(group)
    scene.clock.advance(1)
    expect(await again).toBe('b1')
    await group.return?.()
  })

  test.each([
    ['with the state', false],
    ['without it', true],
  ])('gives a slow reader the newest state of each task, in turn: hints come %s', async (_name, isBare) => {
    await using scene = await openScene()
    if (isBare) scene.deliver('bare')
    const group = scene.watch(['a', 'b', 'c'])
    const first = await next(group)
    // The first states of the others wait in the group meanwhile.
    await waitFor(() => scene.reads() === 3)
    await new Promise(setImmediate)
    for (let n = 0; n < 100; n += 1) for (const id of ['a', 'b', 'c']) await scene.move(id)
    const rest = await take(group, 3)
    expect(first).toBe('a1')
    expect(rest.sort()).toEqual(['a101', 'b101', 'c101'])
    const more = next(group)
    await group.return?.()
    expect(await more).toBeUndefined()
  })

  test('does not let busy tasks hold up the others', async () => {
    await using scene = await openScene()
    const group = scene.watch(['c', 'a', 'b'])
    await take(group, 3)
    const first = next(group)
    await scene.move('a')
    expect(await first).toBe('a2')
    // The group waits for all of them but a.
    await scene.move('c')
    const events = []
    for (let n = 0; n < 6; n += 1) {
      for (const id of ['a', 'b']) await scene.move(id)
      // The watches have answered.
      await new Promise(setImmediate)
      events.push(await next(group))
    }
    expect(events.slice(0, 3)).toContain('c2')
    await group.return?.()
  })

  test('ends at once when its reader leaves while it waits, and leaves nothing behind', async () => {
    await using scene = await openScene()
    const group = scene.watch(['a', 'b', 'unknown'])
    await take(group, 3)
    const waiting = group.next()
    await group.return?.()
    expect(await waiting).toEqual({ done: true, value: undefined })
    expect([scene.listeners(), scene.clock.pending]).toEqual([0, 0])
  })

  test('ends before its first event without having listened', async () => {
    await using scene = await openScene()
    const group = scene.watch(['a', 'b'])
    await group.return?.()
    expect([await next(group), scene.listeners(), scene.closed()]).toEqual([undefined, 0, 1])
  })

  test('repeats all states on request, and ends once when the service stops', async () => {
    await using scene = await openScene()
    const group = scene.watch(['a', 'b'])
    await take(group, 2)
    const again = take(group, 2)
    await waitFor(() => scene.clock.pending === 2)
    scene.control()?.repeat()
    expect((await again).sort()).toEqual(['a1', 'b1'])
    scene.control()?.end()
    expect((await collect(group)).map(toText)).toEqual(['GOING_AWAY'])
    expect([scene.listeners(), scene.clock.pending, scene.closed()]).toEqual([0, 0, 1])
  })

  test('ends once when the authorization expires, before any waiting state', async () => {
    await using scene = await openScene()
    const group = scene.watch(['a', 'b'], [], { until: scene.clock.now() + 1_000 })
    expect(await next(group)).toBe('a1')
    scene.clock.advance(1_000)
    expect((await collect(group)).map(toText)).toEqual(['EXPIRED'])
    const waiting = scene.watch(['a', 'b'], [1, 1], { until: scene.clock.now() + 1_000 })
    const end = next(waiting)
    await waitFor(() => scene.clock.pending === 2)
    scene.clock.advance(1_000)
    expect([await end, (await waiting.next()).done]).toEqual(['EXPIRED', true])
    expect(scene.listeners()).toBe(0)
  })

  test('fails as a whole if the first state of a task cannot be read', async () => {
    await using scene = await openScene()
    scene.away()
    await expect(scene.watch(['a', 'b']).next()).rejects.toThrow('The store is away')
    expect([scene.listeners(), scene.clock.pending, scene.closed()]).toEqual([0, 0, 1])
  })
})
