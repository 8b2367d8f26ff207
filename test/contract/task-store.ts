import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { Outbox } from '../../src/deliveries/outbox.ts'
import { toOwnerTopic } from '../../src/tasks/watch/owner-topic.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import type { TaskStore } from '../../src/tasks/store-port.ts'
import type { PictureFacts, UpscaleTask } from '../../src/tasks/task.ts'
import { inGroups } from '../support/in-groups.ts'
import { newTask } from '../support/new-task.ts'

/** Opens a store on the same, at first empty, database each time it is called within one test. */
const FACTS: PictureFacts = {
  width: 2048,
  height: 1024,
  byteSize: 123_456,
  contentType: 'image/png',
  sha256: 'ab'.repeat(32),
  thumbhash: 'aGFzaA==',
  provenance: 'PRESENT',
}

const OWNER_TOPIC = toOwnerTopic('owner')

export type OpenStores = (hints: TaskHints) => Promise<Stores>

export interface Stores extends AsyncDisposable {
  readonly store: TaskStore
  readonly outbox: Outbox
}

/** Hints that only note which tasks were announced, and what was announced to their owner. */
function noteHints() {
  const announced: string[] = []
  const toOwner: (UpscaleTask | undefined)[] = []
  const hints: TaskHints = {
    announce: (topic, state) =>
      topic === OWNER_TOPIC ? void toOwner.push(state) : void announced.push(topic),
    listen: () => Promise.resolve({ [Symbol.dispose]: () => undefined }),
  }
  return Object.assign(hints, { announced, toOwner })
}

const ids = (tasks: UpscaleTask[]) => tasks.map(({ id }) => id).sort()

/** What every TaskStore must do; `setUp` gives a way to open one on a fresh database. */
export function describeTaskStore(
  name: string,
  setUp: () => Promise<AsyncDisposable & { readonly open: OpenStores }>,
): void {
  describe(`${name} is a TaskStore`, () => {
    let database: Awaited<ReturnType<typeof setUp>>
    let stores: Stores
    let store: TaskStore
    let hints: ReturnType<typeof noteHints>

    beforeEach(async () => {
      database = await setUp()
      hints = noteHints()
      stores = await database.open(hints)
      store = stores.store
    })
    afterEach(async () => {
      await stores[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    })

    const insert = async (changes: Partial<UpscaleTask> = {}) => {
      const task = newTask(changes)
      expect(await store.insert(task, {})).toEqual({ inserted: true })
      return task
    }

    test('it is ready once it is open', async () => {
      await expect(store.check()).resolves.toBeUndefined()
    })

    test('a task is read as it was inserted, with every field', async () => {
      const task = await insert({
        waterMark: 'märk ✓',
        images: [
          { url: 'https://example.com/a.png', expiresAt: 4_102_444_800_001, facts: FACTS, copyState: 'KEPT' },
        ],
        sourceImage: { url: 'https://example.com/s.png', width: 256, height: null, thumbhash: 'aGFzaA==' },
        revision: 9,
        engine: 'legnext',
        requestedEngine: 'legnext',
        creditsConsumed: 0.5,
        resultDueAt: 4_102_444_800_005,
        resultAttempts: 3,
        failure: { code: 'GENERATION_FAILED', upstreamCode: 501, retryAfterMs: 0, correlationId: 'c' },
        failedBy: 'REFUSAL',
        upstreamTaskId: 'upstream',
        imagesExpireAt: 4_102_444_800_002,
        settledAt: 4_102_444_800_003,
        dueAt: null,
        polls: 7,
        answerBy: 4_102_444_800_004,
        history: [{ at: 1, status: 'SUBMITTED', source: 'SUBMIT', upstreamCode: null, note: 'ä' }],
      })
      expect(await store.read(task.id)).toEqual(task)
    })

    test('an unknown task is undefined', async () => {
      for (const id of ['nobody', '', 'no\u0000body', '\ud800']) expect(await store.read(id)).toBeUndefined()
      const { id } = await insert()
      expect(await store.readMany(['no\u0000body', id, 'nobody'])).toMatchObject([{ id }])
      expect(await store.readMany([])).toEqual([])
    })

    test('what was committed is there after the store was closed and opened again', async () => {
      const task = await insert()
      await stores[Symbol.asyncDispose]()
      stores = await database.open(hints)
      store = stores.store
      expect(await store.read(task.id)).toEqual(task)
    })

    describe('update', () => {
      test('replaces the state it was decided on, and announces it', async () => {
        const task = await insert()
        const next: UpscaleTask = {
          ...task,
          version: 2,
          revision: 2,
          status: 'PROCESSING',
          upstreamTaskId: 'u',
          dueAt: 5,
        }
        expect(await store.update(task, next)).toBe('updated')
        expect(await store.read(task.id)).toEqual(next)
        expect(hints.announced).toEqual([task.id])
      })

      test('changes and announces nothing when the task has moved on', async () => {
        const task = await insert()
        const moved: UpscaleTask = { ...task, version: 2, revision: 2, status: 'PROCESSING' }
        await store.update(task, moved)
        expect(await store.update(task, { ...task, version: 2, revision: 2, status: 'FAILED' })).toBe(
          'conflict',
        )
        expect(await store.read(task.id)).toEqual(moved)
        expect(hints.announced).toEqual([task.id])
      })

      test('of many concurrent ones on the same state exactly one wins', async () => {
        const task = await insert()
        const moves = Array.from({ length: 20 }, (_, polls) =>
          store.update(task, { ...task, version: 2, revision: 2, polls }),
        )
        const outcomes = await Promise.all(moves)
        expect(outcomes.filter((outcome) => outcome !== 'conflict')).toEqual(['updated'])
      })

      test('changes nothing when the upstream’s id has become another, though the version is the same', async () => {
        const task = await insert({ upstreamTaskId: 'one' })
        await store.update(task, { ...task, revision: 2, upstreamTaskId: 'two' })
        expect(await store.update(task, { ...task, version: 2, revision: 2, status: 'SUCCEEDED' })).toBe(
          'conflict',
        )
        expect(await store.read(task.id)).toMatchObject({ version: 1, upstreamTaskId: 'two' })
      })

      test('announces only what can already be read', async () => {
        const task = await insert()
        const seen: Promise<number | undefined>[] = []
        hints.announce = () => void seen.push(store.read(task.id).then((read) => read?.version))
        await store.update(task, { ...task, version: 2, revision: 2 })
        // Once to those who follow the task, and once to those who follow its owner.
        expect(await Promise.all(seen)).toEqual([2, 2])
      })

      test('announces the state that is read from then on', async () => {
        const task = await insert()
        const states: (UpscaleTask | undefined)[] = []
        hints.announce = (topic, state) => {
          if (topic === task.id) states.push(state)
        }
        const images = [
          { url: 'https://example.com/1.png', expiresAt: 5, facts: null, copyState: 'OFF' as const },
        ]
        await store.update(task, { ...task, version: 2, revision: 2, status: 'SUCCEEDED', images })
        expect(states).toEqual([await store.read(task.id)])
        // No update was committed, so there is no state to announce.
        await store.update(task, { ...task, version: 2, revision: 2 })
        expect(states).toHaveLength(1)
      })
    })

    describe('a hint about an owner', () => {
      test('is announced for new tasks and new versions, and for nothing else', async () => {
        const task = await insert()
        const recorded = { ...task, revision: 2, polls: 1 }
        await store.update(task, recorded)
        expect(hints.toOwner).toEqual([task])
        const moved: UpscaleTask = { ...recorded, revision: 3, version: 2, status: 'PROCESSING' }
        await store.update(recorded, moved)
        await store.update(recorded, moved)
        expect(hints.toOwner).toEqual([task, moved])
        const replay = newTask({ pictureDigest: task.pictureDigest })
        expect(await store.insert(replay, {})).toMatchObject({ inserted: false })
        await expect(store.insert({ ...replay, id: task.id }, { force: true })).rejects.toThrow()
        expect(hints.toOwner).toHaveLength(2)
      })

      test('is announced for a new task once it can be read', async () => {
        const task = newTask()
        const seen: Promise<UpscaleTask | undefined>[] = []
        hints.announce = () => void seen.push(store.read(task.id))
        await store.insert(task, {})
        expect(await Promise.all(seen)).toEqual([task])
      })

      test('has a list of changes, page by page from an instant on', async () => {
        const change = (id: string, updatedAt: number, version = 1) => ({ id, updatedAt, version })
        const expected = [change('c', 5), change('d', 5, 7), change('a', 6), change('b', 9, 2)]
        for (const each of [...expected.toReversed(), change('old', 4, 3)]) await insert(each)
        await insert({ id: 'foreign', owner: 'another', updatedAt: 5 })
        const list = (after: { id: string; updatedAt: number } | null, limit: number) =>
          store.listChanges({ owner: 'owner', since: 5, after, limit })
        expect(await list(null, 10)).toEqual(expected)
        const page = await list(null, 3)
        expect(page).toEqual(expected.slice(0, 3))
        expect(await list(page[0] ?? null, 1)).toEqual(expected.slice(1, 2))
        expect(await list(page[2] ?? null, 3)).toEqual(expected.slice(3))
        expect(await store.listChanges({ owner: 'nobody', since: 0, after: null, limit: 10 })).toEqual([])
      })
    })

    describe('keys and pictures', () => {
      const key = { claim: 'key', until: 100_000 }
      const other = { claim: 'other key', until: 100_000 }

      test('the same idempotency key gives the task that it names', async () => {
        const first = newTask({ pictureDigest: 'picture' })
        await store.insert(first, { key })
        const second = newTask({ pictureDigest: 'another picture' })
        expect(await store.insert(second, { key })).toEqual({ inserted: false, existing: first, by: 'key' })
        expect(await store.read(second.id)).toBeUndefined()
      })

      test('the same picture gives the task that is running, and the key names that one from then on', async () => {
        const first = await insert({ pictureDigest: 'picture' })
        const second = newTask({ pictureDigest: 'picture' })
        const byPicture = { inserted: false, existing: first, by: 'picture' }
        expect(await store.insert(second, { key })).toEqual(byPicture)
        expect(await store.insert(second, { key: other })).toEqual(byPicture)
        const failed: UpscaleTask = { ...first, version: 2, revision: 2, status: 'FAILED' }
        await store.update(first, failed)
        const byKey = { inserted: false, existing: failed, by: 'key' }
        expect(await store.insert(second, { key })).toEqual(byKey)
        expect(await store.insert(second, { key: other })).toEqual(byKey)
        expect(await store.insert(second, {})).toEqual({ inserted: true })
      })

      test('where key and picture belong to different tasks, the key counts', async () => {
        const byKey = newTask({ pictureDigest: 'one' })
        await store.insert(byKey, { key })
        await insert({ pictureDigest: 'two' })
        const third = newTask({ pictureDigest: 'two' })
        expect(await store.insert(third, { key })).toEqual({ inserted: false, existing: byKey, by: 'key' })
      })

      test('a picture at an engine that the caller names is that of a task at this engine', async () => {
        const claims = { pictureDigest: 'picture' }
        const at = (engine: string, requestedEngine: string | null = engine) =>
          store.insert(newTask({ ...claims, engine, requestedEngine, createdAt: 2_000 }), {})
        const first = await insert({ ...claims, engine: 'first' })
        expect(await at('first')).toEqual({ inserted: false, existing: first, by: 'picture' })
        expect(await at('second')).toEqual({ inserted: true })
        expect(await at('second')).toMatchObject({ inserted: false, existing: { engine: 'second' } })
        // The gateway has chosen another engine than for the first task.
        expect(await at('third', null)).toEqual({ inserted: false, existing: first, by: 'picture' })
        expect(await at('third')).toEqual({ inserted: true })
      })

      test('a picture at an engine that the caller has named is not that of an engine that the gateway chooses', async () => {
        const claims = { pictureDigest: 'picture' }
        const named = await insert({ ...claims, engine: 'second', requestedEngine: 'second' })
        const chosen = (engine: string) => newTask({ ...claims, engine })
        expect(await store.insert(chosen('second'), {})).toMatchObject({ existing: { id: named.id } })
        expect(await store.insert(chosen('first'), {})).toEqual({ inserted: true })
      })

      test('force is stored beside it; from then on the newer counts, and the older again when that has failed', async () => {
        const claims = { pictureDigest: 'picture' }
        const first = await insert({ ...claims, createdAt: 1_000 })
        const second = newTask({ ...claims, createdAt: 2_000 })
        expect(await store.insert(second, { force: true })).toEqual({ inserted: true })
        const third = newTask({ ...claims, createdAt: 3_000 })
        expect(await store.insert(third, {})).toMatchObject({ existing: { id: second.id }, by: 'picture' })
        await store.update(second, { ...second, version: 2, revision: 2, status: 'FAILED' })
        expect(await store.insert(third, {})).toMatchObject({ existing: { id: first.id }, by: 'picture' })
      })

      test('force does not get past an idempotency key', async () => {
        const first = newTask({ pictureDigest: 'picture' })
        await store.insert(first, { key })
        const forced = newTask({ pictureDigest: 'picture' })
        expect(await store.insert(forced, { key, force: true })).toMatchObject({ existing: first, by: 'key' })
        expect(await store.insert(newTask({ pictureDigest: 'picture' }), {})).toMatchObject({
          existing: { id: first.id },
        })
      })

      test('the picture of a task that has failed is free, and taken again when it succeeds after all', async () => {
        const claims = { pictureDigest: 'picture', createdAt: 1_000 }
        const first = await insert(claims)
        const failed: UpscaleTask = { ...first, version: 2, revision: 2, status: 'FAILED' }
        await store.update(first, failed)
        const second = newTask(claims)
        expect(await store.insert(second, {})).toEqual({ inserted: true })
        await store.update(second, { ...second, version: 2, revision: 2, status: 'FAILED' })
        const late: UpscaleTask = {
          ...failed,
          version: 3,
          revision: 3,
          status: 'SUCCEEDED',
          imagesExpireAt: 9_000,
        }
        await store.update(failed, late)
        expect(await store.insert(newTask(claims), {})).toMatchObject({ existing: late, by: 'picture' })
      })

      test('a key is free once the task it names was refused without a charge, and stays held by any other', async () => {
        for (const [claim, code, failedBy, free] of [
          ['refused', 'UPSTREAM_RATE_LIMITED', 'REFUSAL', true],
          ['charged', 'UPSTREAM_NOT_FOUND', 'REFUSAL', false],
          ['accepted', 'GENERATION_FAILED', 'UPSTREAM', false],
        ] as const) {
          const held = { claim, until: 100_000 }
          const first = newTask()
          await store.insert(first, { key: held })
          const failure = { code, upstreamCode: null, retryAfterMs: null, correlationId: 'c' }
          const failed = { ...first, version: 2, revision: 2, status: 'FAILED' as const, failure, failedBy }
          await store.update(first, failed)
          const second = newTask()
          const insertion = free ? { inserted: true } : { inserted: false, existing: failed, by: 'key' }
          expect(await store.insert(second, { key: held })).toEqual(insertion)
          const named = free ? second.id : first.id
          expect(await store.insert(newTask(), { key: held })).toMatchObject({ existing: { id: named } })
        }
      })

      test('key and picture are free from the moment they run out', async () => {
        const until = 1_000_000
        const claims = { pictureDigest: 'picture', imagesExpireAt: until, status: 'SUCCEEDED' as const }
        const first = newTask({ ...claims, createdAt: 0 })
        await store.insert(first, { key: { claim: 'key', until } })
        const early = newTask({ pictureDigest: 'picture', createdAt: until - 1 })
        const late = newTask({ pictureDigest: 'picture', createdAt: until })
        const next = { claim: 'key', until: 2 * until }
        expect(await store.insert(early, { key: next })).toMatchObject({ existing: first, by: 'key' })
        expect(await store.insert(early, {})).toMatchObject({ existing: first, by: 'picture' })
        expect(await store.insert(late, { key: next })).toEqual({ inserted: true })
        expect(await store.insert(newTask({ createdAt: 2 * until - 1 }), { key: next })).toMatchObject({
          existing: late,
        })
      })

      test('what is not admitted is not stored, holds nothing, and is not asked where there is a task', async () => {
        let asked = 0
        const admit = () => Promise.resolve(`no ${(asked += 1)}`)
        const claims = { pictureDigest: 'picture' }
        const refusal = { inserted: false, refusal: 'no 1' }
        expect(await store.insert(newTask(claims), { key, admit })).toEqual(refusal)
        const first = newTask(claims)
        expect(await store.insert(first, { key })).toEqual({ inserted: true })
        expect(await store.insert(newTask(claims), { admit })).toMatchObject({ existing: first })
        expect(await store.insert(newTask(), { key, admit })).toMatchObject({ existing: first })
        expect(asked).toBe(1)
      })

      test('a new key for an existing task is stored only when it is admitted; a known key is not asked about', async () => {
        const first = newTask({ pictureDigest: 'picture' })
        await store.insert(first, { key })
        let asked = 0
        const join = (claim: string, refusal: string | null) =>
          store.insert(newTask({ pictureDigest: 'picture', createdAt: 2_000 }), {
            key: { claim, until: 100_000 },
            admit: () => Promise.resolve('not a new task'),
            admitKey: () => Promise.resolve(((asked += 1), refusal)),
          })
        expect(await join('key', 'no')).toMatchObject({ existing: { id: first.id }, by: 'key' })
        expect(asked).toBe(0)
        expect(await join('new', 'no')).toEqual({ inserted: false, refusal: 'no' })
        expect(await join('new', null)).toMatchObject({ existing: { id: first.id }, by: 'picture' })
        expect(await join('new', 'no')).toMatchObject({ existing: { id: first.id }, by: 'key' })
        expect(asked).toBe(2)
      })

      test('expired keys are deleted, the oldest first, in batches; those that hold stay', async () => {
        const first = newTask({ pictureDigest: 'picture', createdAt: 0 })
        await store.insert(first, { key: { claim: 'held', until: 101 } })
        for (const until of [100, 98, 99])
          await store.insert(newTask({ pictureDigest: 'picture', createdAt: 0 }), {
            key: { claim: `expired ${until}`, until },
          })
        const deleted = []
        for (let n = 0; n < 3; n += 1) deleted.push(await store.removeExpiredKeys(100, 2))
        expect(deleted).toEqual([2, 1, 0])
        const replay = newTask({ createdAt: 100 })
        expect(await store.insert(replay, { key: { claim: 'held', until: 200 } })).toMatchObject({
          by: 'key',
        })
      })

      test.each(['picture', 'key'])(
        'of 100 inserts with one %s, 20 at once, exactly one is stored',
        async (by) => {
          const insertions = await inGroups(Array.from({ length: 100 }), () =>
            by === 'key'
              ? store.insert(newTask(), { key })
              : store.insert(newTask({ pictureDigest: 'picture' }), {}),
          )
          expect(insertions.filter(({ inserted }) => inserted)).toHaveLength(1)
          expect(await store.list({ owner: 'owner', status: null, after: null, limit: 200 })).toHaveLength(1)
        },
      )
    })

    describe('the schedule', () => {
      const claim = (now: number, limit = 10, leaseUntil = now + 1_000) =>
        store.claimDue(now, leaseUntil, limit)

      test('gives what is due, longest due first, no more than asked for, and leases it', async () => {
        const [late, later] = [await insert({ dueAt: 10 }), await insert({ dueAt: 20 })]
        await insert({ dueAt: 31 })
        await insert({ dueAt: null })
        await insert({ dueAt: 0, status: 'SUCCEEDED', images: [] })
        expect(await claim(30, 1)).toEqual([{ ...late, dueAt: 1_030 }])
        expect(await claim(30)).toEqual([{ ...later, dueAt: 1_030 }])
        expect(await claim(30)).toEqual([])
      })

      test('counts what is due and not leased, and tells since when the oldest is', async () => {
        expect(await store.readOverdue(30)).toEqual({ count: 0, oldestDueAt: null })
        for (const dueAt of [20, 10, 31, null]) await insert({ dueAt })
        await insert({ dueAt: 0, images: [] })
        expect(await store.readOverdue(30)).toEqual({ count: 2, oldestDueAt: 10 })
        await claim(30, 1)
        expect(await store.readOverdue(30)).toEqual({ count: 1, oldestDueAt: 20 })
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
          (n % 2 ? store : other.store).claimDue(999, 5_000, 7),
        )
        const claimed = (await Promise.all(claimers)).flat()
        expect(new Set(ids(claimed)).size).toBe(claimed.length)
        expect(claimed).toHaveLength(500)
      })

      const next = { notFoundCount: 2, notFoundSince: 7 }

      test('rescheduling ends the lease, records the poll, and announces nothing', async () => {
        await insert({ dueAt: 10 })
        const [task] = (await claim(10)) as [UpscaleTask]
        await store.reschedule(task, { ...next, dueAt: 70 })
        expect(await store.read(task.id)).toEqual({ ...task, ...next, dueAt: 70, polls: 1 })
        expect(hints.announced).toEqual([])
      })

      test('rescheduling does nothing to a task that has moved or was claimed again since', async () => {
        const { id } = await insert({ dueAt: 10 })
        const [claimed] = (await claim(10)) as [UpscaleTask]
        const [again] = (await store.claimDue(claimed.dueAt ?? 0, 99_000, 1)) as [UpscaleTask]
        await store.reschedule(claimed, { ...next, dueAt: 9_999 })
        expect(await store.read(id)).toMatchObject({ dueAt: 99_000, polls: 0 })
        await store.update(again, { ...again, version: 2, revision: 2, status: 'SUCCEEDED', dueAt: null })
        await store.reschedule(again, { ...next, dueAt: 9_999 })
        expect(await store.read(id)).toMatchObject({ dueAt: null, polls: 0 })
      })

      test('rescheduling does nothing to a task that has moved, even if it is due at the same time', async () => {
        await insert({ dueAt: 10 })
        const [claimed] = (await claim(10)) as [UpscaleTask]
        await store.update(claimed, { ...claimed, version: 2, revision: 2, status: 'FAILED' })
        await store.reschedule(claimed, { ...next, dueAt: 9_999 })
        expect(await store.read(claimed.id)).toMatchObject({ dueAt: claimed.dueAt, polls: 0 })
      })

      test('a settled task that is still polled is rescheduled like any other', async () => {
        await insert({ dueAt: 10, status: 'FAILED', settledAt: 5 })
        const [claimed] = (await claim(10)) as [UpscaleTask]
        await store.reschedule(claimed, { ...next, dueAt: 9_999 })
        expect(await store.read(claimed.id)).toMatchObject({ dueAt: 9_999, polls: 1 })
      })
    })

    test.each([
      ['one that is due later is brought forward', { dueAt: 99 }, 50],
      ['one that is due earlier stays so', { dueAt: 9 }, 9],
      ['one that is not due at all stays so', { status: 'FAILED', settledAt: 1, dueAt: null }, null],
      ['a settled one stays as it is', { status: 'FAILED', settledAt: 1, dueAt: 99 }, 99],
    ] as const)('a task can be made due soon: %s', async (_name, changes, dueAt) => {
      const { id } = await insert(changes)
      await store.pollSoon(id, 50)
      expect((await store.read(id))?.dueAt).toBe(dueAt)
    })

    test('the lease on an answer can be renewed until the answer came or is lost', async () => {
      const task = await insert({ answerBy: 5 })
      await store.extendAnswer(task.id, 9)
      expect(await store.read(task.id)).toEqual({ ...task, answerBy: 9 })
      const renewed = { ...task, answerBy: 9 }
      expect(await store.update(renewed, { ...renewed, answerBy: null })).toBe('updated')
      await store.extendAnswer(task.id, 99)
      expect(await store.read(task.id)).toMatchObject({ answerBy: null })
      expect(hints.announced).toEqual([task.id])
    })

    test('retention removes settled tasks before an instant, in batches, and nothing else', async () => {
      for (const settledAt of [1, 2, 3]) await insert({ status: 'FAILED', settledAt })
      const stays = [await insert({ status: 'SUCCEEDED', settledAt: 4 }), await insert({ createdAt: 0 })]
      const key = { claim: 'key', until: 100_000 }
      await store.insert(newTask({ status: 'FAILED', settledAt: 0 }), { key })
      expect(await store.removeSettled(4, 2)).toBe(2)
      expect(await store.removeSettled(4, 2)).toBe(2)
      expect(await store.removeSettled(4, 2)).toBe(0)
      const left = await store.list({ owner: 'owner', status: null, after: null, limit: 10 })
      expect(ids(left)).toEqual(ids(stays))
      expect(await store.insert(newTask(), { key })).toEqual({ inserted: true })
    })

    test('the engines of tasks that wait for a result are listed, each once', async () => {
      expect(await store.listOpenEngines()).toEqual([])
      for (const status of ['SUBMITTED', 'PROCESSING'] as const)
        await insert({ status, engine: 'first', dueAt: 1 })
      await insert({ status: 'PROCESSING', engine: 'second', dueAt: 1 })
      await insert({ status: 'SUCCEEDED', engine: 'third', images: [], settledAt: 1 })
      expect((await store.listOpenEngines()).sort()).toEqual(['first', 'second'])
    })

    test('tasks are counted by status as they are inserted, moved and removed', async () => {
      expect(await store.countByStatus()).toEqual({})
      const [first] = [await insert(), await insert(), await insert({ status: 'FAILED', settledAt: 1 })]
      expect(await store.countByStatus()).toMatchObject({ SUBMITTED: 2, FAILED: 1 })
      await store.update(first, { ...first, version: 2, revision: 2, status: 'PROCESSING' })
      await store.update(first, { ...first, version: 2, revision: 2, status: 'SUCCEEDED' })
      expect(await store.countByStatus()).toMatchObject({ SUBMITTED: 1, PROCESSING: 1, FAILED: 1 })
      await store.removeSettled(2, 10)
      const counts = await store.countByStatus()
      expect(Object.entries(counts).filter(([, count]) => count > 0)).toHaveLength(2)
      expect(counts.FAILED ?? 0).toBe(0)
    })

    describe('usage', () => {
      const DAY = Date.parse('2026-01-31T23:59:59.999Z')
      const spent = (task: UpscaleTask, creditsConsumed: number | null, at = DAY): UpscaleTask => ({
        ...task,
        version: task.version + 1,
        revision: task.revision + 1,
        creditsConsumed,
        updatedAt: at,
        history: [
          ...task.history,
          { at, status: 'SUCCEEDED', source: 'CALLBACK', upstreamCode: null, note: 'succeeded' },
        ],
      })
      const spend = async (changes: Partial<UpscaleTask>, credits: number, at = DAY) => {
        const task = await insert(changes)
        const next = spent(task, credits, at)
        expect(await store.update(task, next)).toBe('updated')
        return next
      }
      const entry = { day: '2026-01-31', owner: 'owner', engine: 'kie-midjourney', tasks: 1, credits: 2.5 }
      const readAll = () => store.readUsage('2026-01-01', null)

      test('has what an update reports, from the commit of the update on', async () => {
        const seen: Promise<unknown>[] = []
        const task = await insert()
        expect(await readAll()).toEqual([])
        hints.announce = () => void seen.push(readAll())
        await store.update(task, spent(task, 2.5))
        for (const usage of await Promise.all(seen)) expect(usage).toEqual([entry])
        expect(seen).toHaveLength(2)
        await using other = await database.open(hints)
        expect(await other.store.readUsage('2026-01-31', 'owner')).toEqual([entry])
      })

      test('has nothing of an update that reports no credits, and an entry of one that reports none spent', async () => {
        const task = await insert()
        const running = spent(task, null)
        await store.update(task, running)
        expect(await readAll()).toEqual([])
        await store.update(running, spent(running, 0))
        expect(await readAll()).toEqual([{ ...entry, credits: 0 }])
      })

      test('has the difference when an amount changes, and no second task', async () => {
        const first = await spend({}, 2.5)
        const raised = spent(first, 4)
        await store.update(first, raised)
        expect(await readAll()).toEqual([{ ...entry, credits: 4 }])
        await store.update(raised, spent(raised, 4))
        expect(await readAll()).toEqual([{ ...entry, credits: 4 }])
        const corrected = { ...raised, revision: raised.revision + 1 }
        await store.update(corrected, spent(corrected, 1))
        expect(await readAll()).toEqual([{ ...entry, credits: 1 }])
      })

      test('has nothing of an update that conflicts', async () => {
        const first = await spend({}, 2.5)
        expect(await store.update({ ...first, revision: 1, creditsConsumed: null }, spent(first, 9))).toBe(
          'conflict',
        )
        expect(await readAll()).toEqual([entry])
      })

      test('has one entry of many updates at once', async () => {
        await using other = await database.open(hints)
        const tasks = []
        for (let n = 0; n < 20; n += 1) tasks.push(await insert())
        await Promise.all(
          tasks.map((task, n) => (n % 2 === 0 ? store : other.store).update(task, spent(task, 2))),
        )
        expect(await readAll()).toEqual([{ ...entry, tasks: 20, credits: 40 }])
      })

      test('is by day in UTC, owner and engine, the newest day first', async () => {
        await spend({}, 1)
        await spend({}, 2, DAY + 1)
        await spend({ owner: 'bob' }, 3, DAY + 1)
        await spend({ owner: 'bob', engine: 'legnext' }, 4, DAY + 1)
        await spend({ engine: 'legnext' }, 5, DAY + 1)
        await spend({ owner: 'bob', engine: 'kie-jobs' }, 6, DAY + 1)
        const rows = (await readAll()).map((usage) => [usage.day, usage.owner, usage.engine, usage.credits])
        const expected = [
          ['2026-02-01', 'bob', 'kie-jobs', 6],
          ['2026-02-01', 'bob', 'kie-midjourney', 3],
          ['2026-02-01', 'bob', 'legnext', 4],
          ['2026-02-01', 'owner', 'kie-midjourney', 2],
          ['2026-02-01', 'owner', 'legnext', 5],
          ['2026-01-31', 'owner', 'kie-midjourney', 1],
        ]
        expect(rows).toEqual(expected)
        const credits = async (fromDay: string, owner: string | null) =>
          (await store.readUsage(fromDay, owner)).map((usage) => usage.credits)
        expect(await credits('2026-02-01', null)).toEqual([6, 3, 4, 2, 5])
        expect(await credits('2026-01-31', 'owner')).toEqual([2, 5, 1])
        expect(await credits('2026-02-01', 'owner')).toEqual([2, 5])
        expect(await credits('2026-02-02', null)).toEqual([])
        expect(await credits('2026-01-01', 'nobody')).toEqual([])
      })

      test('stays when its tasks are removed', async () => {
        const first = await spend({ status: 'SUCCEEDED', settledAt: 1 }, 1)
        await spend({ status: 'SUCCEEDED', settledAt: 1 }, 1.5)
        expect(await store.remove(first.owner, first.id)).toBe(true)
        expect(await store.removeSettled(2, 10)).toBe(1)
        expect(await store.read(first.id)).toBeUndefined()
        expect(await readAll()).toEqual([{ ...entry, tasks: 2 }])
      })
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
