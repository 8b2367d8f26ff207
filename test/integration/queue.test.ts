import { describe, expect, test } from '@jest/globals'
import type { Submission } from '../../src/tasks/submission.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { openCore } from '../support/core.ts'
import { json, text, type Answer, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { waitFor } from '../support/wait-for.ts'

const TWO_IN_TEN_SECONDS = { upstream: { limit: 2, perMs: 10_000 } }
const BUSY = json(200, { code: 429, msg: 'busy' })

/** Accepts every task under an id of its own. */
function accept(): Answer {
  let count = 0
  return (response, request) => {
    count += 1
    json(200, { code: 200, msg: 'success', data: { taskId: `upstream-${count}` } })(response, request)
  }
}

function taskOf({ task, failure }: Submission): UpscaleTask {
  if (task === null) throw new Error(`refused with ${failure.code}`)
  return task
}

/** The source tasks of the paid requests, in their order. */
function sentTo(upstream: ScriptedUpstream): string[] {
  return upstream.received
    .filter(({ method }) => method === 'POST')
    .map(({ body }) => (JSON.parse(body) as { taskId: string }).taskId)
}

type Core = Awaited<ReturnType<typeof openCore>>

/** Moves the clock, and sends the tasks whose turn it is, to their answers. */
async function advance({ clock, tasks, store }: Core, ms: number): Promise<void> {
  clock.advance(ms)
  await tasks.sendQueued()
  await waitFor(async () => {
    const unanswered = await store.list({ owner: 'owner', status: 'SUBMITTED', after: null, limit: 100 })
    const others = await store.list({ owner: 'bob', status: 'SUBMITTED', after: null, limit: 100 })
    return [...unanswered, ...others].every(({ answerBy }) => answerBy === null)
  })
}

const queued = (sourceTaskId: string, owner = 'owner') => ({ queue: true, sourceTaskId, owner })

describe('a submit with the queue', () => {
  test('is sent at once, and returns the answer, while the upstream takes tasks', async () => {
    await using core = await openCore()
    expect(taskOf(await core.submit(queued('a')))).toMatchObject({
      status: 'PROCESSING',
      version: 2,
      queueRank: null,
      sentAt: core.clock.now(),
    })
    expect(sentTo(core.upstream)).toEqual(['a'])
  })

  test.each([402, 422, 505])('is refused by code %i as without the queue', async (code) => {
    await using core = await openCore()
    core.upstream.onCreate = json(200, { code, msg: 'no' })
    const { task, failure } = await core.submit(queued('a'))
    expect([task, failure?.upstreamCode]).toEqual([null, code])
    await advance(core, 300_000)
    expect(sentTo(core.upstream)).toEqual(['a'])
  })

  test.each([503, 522])(
    'is refused by HTTP %i without a code, which some proxies send too late',
    async (status) => {
      await using core = await openCore()
      core.upstream.onCreate = text(status, 'no')
      const { task, failure } = await core.submit(queued('a'))
      expect([task, failure?.upstreamCode]).toEqual([null, status])
      await advance(core, 300_000)
      expect(sentTo(core.upstream)).toEqual(['a'])
    },
  )

  test("waits while the account's rate is used up, and is sent when it is free again", async () => {
    await using core = await openCore({}, TWO_IN_TEN_SECONDS)
    core.upstream.onCreate = accept()
    await core.submit(queued('a'))
    await core.submit(queued('b'))
    const waiting = taskOf(await core.submit(queued('c')))
    expect(waiting).toMatchObject({ status: 'SUBMITTED', version: 1, answerBy: null, sentAt: null })
    expect(await core.tasks.findPlace(waiting)).toEqual({ position: 1, estimatedStartAt: null })
    await advance(core, 9_999)
    expect(sentTo(core.upstream)).toEqual(['a', 'b'])
    await advance(core, 1)
    expect(sentTo(core.upstream)).toEqual(['a', 'b', 'c'])
    expect(await core.store.read(waiting.id)).toMatchObject({ status: 'PROCESSING', version: 2 })
  })

  test.each([
    ['429 in an envelope', BUSY, 10_000],
    ['455 in an envelope', json(200, { code: 455, msg: 'maintenance' }), 60_000],
    ['429 of a proxy with Retry-After', text(429, 'busy', { 'retry-after': '25' }), 25_000],
    ['a CDN that cannot reach the upstream', text(521, 'down'), 5_000],
  ])('waits after %s, and is sent again then', async (_name, answer, waitMs) => {
    await using core = await openCore()
    core.upstream.onCreate = answer
    const { id, version, history } = taskOf(await core.submit(queued('a')))
    expect(version).toBe(1)
    expect(history.at(-1)?.note).toMatch(/; it is sent again later$/)
    core.upstream.onCreate = accept()
    await advance(core, waitMs - 1)
    expect(sentTo(core.upstream)).toEqual(['a'])
    await advance(core, 1)
    expect(await core.store.read(id)).toMatchObject({ status: 'PROCESSING', upstreamTaskId: 'upstream-1' })
    const tokens = core.upstream.received.map(
      ({ body }) => (JSON.parse(body) as { callBackUrl: string }).callBackUrl,
    )
    // The callback URL of a refused attempt is worth nothing.
    expect(new Set(tokens).size).toBe(2)
  })

  test('is not refused by an upstream that cannot be reached', async () => {
    await using core = await openCore()
    const { onCreate } = core.upstream
    core.upstream.onCreate = (response) => response.destroy()
    const lost = taskOf(await core.submit(queued('lost')))
    core.upstream.onCreate = onCreate
    await advance(core, 300_000)
    // Its request may have been accepted: it is never sent again.
    expect(sentTo(core.upstream)).toEqual(['lost'])
    expect(await core.store.read(lost.id)).toMatchObject({ status: 'SUBMITTED', queueRank: null })
  })

  test('is sent in time although the clock was set back while it waited', async () => {
    await using core = await openCore({}, { upstream: { limit: 1, perMs: 10_000 } })
    core.upstream.onCreate = accept()
    await core.submit(queued('a'))
    const { id } = taskOf(await core.submit(queued('b')))
    core.clock.step(-3_600_000)
    await advance(core, 10_000)
    expect(await core.store.read(id)).toMatchObject({ status: 'PROCESSING', sentAt: core.clock.now() })
  })

  test('fails at its deadline with the reason for which it waited, and frees its key and picture', async () => {
    await using core = await openCore({ deadlineMs: 60_000 })
    core.upstream.onCreate = json(200, { code: 455, msg: 'maintenance' })
    const key = { ...queued('a'), idempotencyKey: 'key', force: false }
    const { id } = taskOf(await core.submit(key))
    core.clock.advance(60_000)
    await core.round()
    expect(await core.store.read(id)).toMatchObject({
      status: 'FAILED',
      failedBy: 'REFUSAL',
      failure: { code: 'UPSTREAM_MAINTENANCE', upstreamCode: 455 },
      queueRank: null,
    })
    core.upstream.onCreate = accept()
    expect(taskOf(await core.submit(key)).id).not.toBe(id)
  })

  test('has as long for its result as any other task, however long it waited', async () => {
    await using core = await openCore({ deadlineMs: 60_000 }, TWO_IN_TEN_SECONDS)
    core.upstream.onCreate = accept()
    for (const source of ['a', 'b']) await core.submit(queued(source))
    const { id, deadlineAt } = taskOf(await core.submit(queued('c')))
    await advance(core, 10_000)
    const sent = await core.store.read(id)
    expect([sent?.deadlineAt, sent?.dueAt]).toEqual([deadlineAt + 10_000, core.clock.now() + 30_000])
  })

  test('is replayed like any other while it waits', async () => {
    await using core = await openCore({}, TWO_IN_TEN_SECONDS)
    core.upstream.onCreate = accept()
    for (const source of ['a', 'b']) await core.submit(queued(source))
    const request = { ...queued('c'), force: false, idempotencyKey: 'key' }
    const first = await core.submit(request)
    const second = await core.submit({ ...request, queue: false })
    expect([second.task?.id, second.replayed]).toEqual([first.task?.id, true])
  })

  test('keeps the result that a callback brings although the upstream had refused the task', async () => {
    await using core = await openCore()
    core.upstream.onCreate = BUSY
    const task = taskOf(await core.submit(queued('a')))
    const outcome = { kind: 'succeeded', imageUrls: ['https://example.com/a.png'] } as const
    await core.tasks.receive(task, { upstreamTaskId: 'late', outcome })
    await advance(core, 300_000)
    expect(await core.store.read(task.id)).toMatchObject({ status: 'SUCCEEDED', queueRank: null })
    expect(sentTo(core.upstream)).toEqual(['a'])
  })
})

describe('the order of the queue', () => {
  const ONE_IN_TEN_SECONDS = { upstream: { limit: 1, perMs: 10_000 } }
  const FLOOD = ['a1', 'a2', 'a3', 'a4', 'a5'].map((source) => ['alice', source] as const)

  /**
   * Queues these, owner and source, while the account is used up; returns the sources in the order in which
   * they are sent.
   */
  async function orderOf(
    sources: readonly (readonly [string, string])[],
    ownerWeights: ReadonlyMap<string, number> = new Map(),
  ) {
    await using core = await openCore({ ownerWeights }, ONE_IN_TEN_SECONDS)
    core.upstream.onCreate = accept()
    await core.submit(queued('first', 'somebody'))
    for (const [owner, source] of sources) await core.submit(queued(source, owner))
    for (let turn = 1; turn <= sources.length; turn += 1) {
      core.clock.advance(10_000)
      await core.tasks.sendQueued()
      await waitFor(() => sentTo(core.upstream).length === 1 + turn)
    }
    return sentTo(core.upstream).slice(1)
  }

  test('is that of the submits of one owner', async () => {
    expect(await orderOf(FLOOD)).toEqual(['a1', 'a2', 'a3', 'a4', 'a5'])
  })

  test('lets owners take turns, however many tasks one of them has', async () => {
    const others = [
      ['bob', 'b1'],
      ['bob', 'b2'],
      ['carol', 'c1'],
    ] as const
    expect(await orderOf([...FLOOD, ...others])).toEqual(['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4', 'a5'])
  })

  test('gives an owner as many turns as OWNER_WEIGHTS says', async () => {
    const others = ['b1', 'b2', 'b3', 'b4', 'b5'].map((source) => ['bob', source] as const)
    const order = await orderOf([...FLOOD, ...others], new Map([['bob', 2]]))
    expect(order).toEqual(['a1', 'b1', 'a2', 'b2', 'b3', 'a3', 'b4', 'b5', 'a4', 'a5'])
  })

  test('is kept by a task that the upstream refuses for now', async () => {
    await using core = await openCore({}, ONE_IN_TEN_SECONDS)
    core.upstream.onCreate = BUSY
    for (const source of ['a', 'b', 'c']) await core.submit(queued(source))
    core.upstream.onCreate = accept()
    for (let turn = 0; turn < 3; turn += 1) await advance(core, 10_000)
    expect(sentTo(core.upstream)).toEqual(['a', 'a', 'b', 'c'])
  })
})

describe('a turn', () => {
  /** Refuses the source `stuck`, and accepts all others. */
  function refuseStuck(): Answer {
    const others = accept()
    return (response, request) => {
      const { taskId } = JSON.parse(request.body) as { taskId: string }
      const answer = taskId === 'stuck' ? json(200, { code: 455 }) : others
      answer(response, request)
    }
  }
  const withoutStuck = (core: Core) => sentTo(core.upstream).filter((source) => source !== 'stuck')

  test('of an owner without waiting tasks does not begin at a deferred task', async () => {
    await using core = await openCore({}, { upstream: { limit: 1, perMs: 10_000 } })
    core.upstream.onCreate = refuseStuck()
    for (const source of ['stuck', 'a1', 'a2', 'a3', 'a4', 'a5', 'a6']) await core.submit(queued(source))
    for (let turn = 0; turn < 3; turn += 1) await advance(core, 10_000)
    expect(withoutStuck(core)).toEqual(['a1', 'a2', 'a3'])
    for (const source of ['b1', 'b2', 'b3']) await core.submit(queued(source, 'bob'))
    for (let turn = 0; turn < 8; turn += 1) await advance(core, 10_000)
    expect(withoutStuck(core).slice(3)).toEqual(['a4', 'a5', 'b1', 'a6', 'b2', 'b3'])
  })

  test('of a deferred task is the next one, however many tasks of its owner wait', async () => {
    await using core = await openCore({}, { upstream: { limit: 1, perMs: 10_000 } })
    core.upstream.onCreate = accept()
    for (const source of ['a1', 'a2', 'a3', 'a4']) await core.submit(queued(source))
    for (let turn = 0; turn < 2; turn += 1) await advance(core, 10_000)
    const held = Promise.withResolvers<() => void>()
    core.upstream.onCreate = (response, request) => {
      held.resolve(() => {
        BUSY(response, request)
      })
    }
    core.clock.advance(10_000)
    await core.tasks.sendQueued()
    const release = await held.promise
    core.upstream.onCreate = accept()
    for (const source of ['b1', 'b2', 'b3']) await core.submit(queued(source, 'bob'))
    release()
    await waitFor(async () => (await core.queueStore.readBacklog()).count === 4)
    for (let turn = 0; turn < 3; turn += 1) await advance(core, 10_000)
    expect(sentTo(core.upstream).slice(4)).toEqual(['a4', 'b1', 'b2'])
  })
})

describe('a submit without the queue', () => {
  test('does not overtake tasks that wait for the account’s rate', async () => {
    await using core = await openCore({}, TWO_IN_TEN_SECONDS)
    core.upstream.onCreate = accept()
    for (const source of ['a', 'b', 'c', 'd']) await core.submit(queued(source))
    for (let half = 0; half < 2; half += 1) {
      core.clock.advance(4_999)
      const { failure } = await core.submit({ sourceTaskId: 'direct' })
      expect(failure?.code).toBe('UPSTREAM_RATE_LIMITED')
    }
    for (let turn = 0; turn < 3; turn += 1) await advance(core, 2_500)
    expect(sentTo(core.upstream)).toEqual(['a', 'b', 'c', 'd'])
    await advance(core, 10_000)
    expect((await core.submit({ sourceTaskId: 'direct' })).task).not.toBeNull()
  })
})

describe('an upstream that refuses tasks', () => {
  test('gets one task at a time after two refusals in a row, until it accepts one', async () => {
    await using core = await openCore({ queueLimit: null })
    core.upstream.onCreate = BUSY
    for (const source of ['a', 'b', 'c', 'd']) await core.submit(queued(source))
    // The first two were refused; since then the queue pauses.
    expect(sentTo(core.upstream)).toEqual(['a', 'b'])
    await advance(core, 10_000)
    expect(sentTo(core.upstream)).toEqual(['a', 'b', 'a'])
    core.upstream.onCreate = accept()
    await advance(core, 10_000)
    await waitFor(async () => {
      await core.tasks.sendQueued()
      return sentTo(core.upstream).length === 6
    })
    expect(sentTo(core.upstream).slice(3)).toEqual(['b', 'c', 'd'])
  })

  test('gets one task at a time while its answers prove nothing', async () => {
    await using core = await openCore()
    core.upstream.onCreate = (response) => response.destroy()
    for (const source of ['a', 'b', 'c', 'd']) await core.submit(queued(source))
    await advance(core, 29_999)
    expect(sentTo(core.upstream)).toEqual(['a', 'b'])
    await advance(core, 1)
    await advance(core, 29_999)
    expect(sentTo(core.upstream)).toEqual(['a', 'b', 'c'])
  })

  test('gets a refused task again after a second at the earliest, even if its Retry-After is 0', async () => {
    await using core = await openCore()
    core.upstream.onCreate = text(429, 'busy', { 'retry-after': '0' })
    await core.submit(queued('a'))
    await advance(core, 999)
    expect(sentTo(core.upstream)).toEqual(['a'])
    await advance(core, 1)
    await advance(core, 1_000)
    expect(sentTo(core.upstream)).toEqual(['a', 'a'])
    await advance(core, 1_000)
    expect(sentTo(core.upstream)).toEqual(['a', 'a', 'a'])
  })

  test('gets the other tasks while it always refuses one of them', async () => {
    await using core = await openCore()
    const others = accept()
    core.upstream.onCreate = (response, request) => {
      const { taskId } = JSON.parse(request.body) as { taskId: string }
      const answer = taskId === 'refused' ? BUSY : others
      answer(response, request)
    }
    await core.submit(queued('refused'))
    for (let round = 0; round < 6; round += 1) {
      const { status } = taskOf(await core.submit(queued(`good ${round}`)))
      expect(status).toBe('PROCESSING')
      await advance(core, 10_000)
    }
    // After 10, 20 and 30 seconds: each refusal makes the next wait longer.
    expect(sentTo(core.upstream).filter((source) => source === 'refused')).toHaveLength(4)
  })
})

describe('a full queue', () => {
  test('refuses the next task of its owner, and none of other owners', async () => {
    await using core = await openCore({ queueLimit: 2 }, { upstream: { limit: 1, perMs: 10_000 } })
    for (const source of ['sent', 'a', 'b']) taskOf(await core.submit(queued(source)))
    const refused = await core.submit({ ...queued('c'), idempotencyKey: 'key' })
    expect(refused.failure).toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: 10_000 })
    taskOf(await core.submit(queued('d', 'another owner')))
    await advance(core, 10_000)
    taskOf(await core.submit({ ...queued('c'), idempotencyKey: 'key' }))
  })

  test('has exactly as many tasks as its limit, however many arrive at once', async () => {
    await using core = await openCore({ queueLimit: 5 }, { upstream: { limit: 1, perMs: 10_000 } })
    await core.submit(queued('sent'))
    const submits = Array.from({ length: 20 }, (_, index) => core.submit(queued(`task ${index}`)))
    const accepted = (await Promise.all(submits)).filter(({ task }) => task !== null)
    expect(accepted).toHaveLength(5)
    const ranks = accepted.map(({ task }) => task?.queueRank)
    expect(new Set(ranks).size).toBe(5)
  })
})

describe('a cancel', () => {
  async function openWaiting() {
    const core = await openCore({}, { upstream: { limit: 1, perMs: 10_000 } })
    core.upstream.onCreate = accept()
    const sent = taskOf(await core.submit(queued('sent')))
    const request = { ...queued('a'), force: false, idempotencyKey: 'key' }
    const waiting = taskOf(await core.submit(request))
    return { core, sent, waiting, request }
  }

  test('of a waiting task means that it is never sent, and that its key and picture are free', async () => {
    const { core, waiting, request } = await openWaiting()
    await using _core = core
    const canceled = await core.tasks.cancel('owner', waiting.id)
    expect(canceled).toMatchObject({
      status: 'FAILED',
      version: 2,
      failure: { code: 'CANCELLED', correlationId: 'correlation' },
      settledAt: core.clock.now(),
    })
    expect(await core.tasks.cancel('owner', waiting.id)).toEqual(canceled)
    await advance(core, 10_000)
    expect(sentTo(core.upstream)).toEqual(['sent'])
    const again = taskOf(await core.submit(request))
    expect([again.id === waiting.id, again.status]).toEqual([false, 'PROCESSING'])
  })

  test('does not change a task that has been sent, or that of another owner', async () => {
    const { core, sent, waiting } = await openWaiting()
    await using _core = core
    expect(await core.tasks.cancel('owner', sent.id)).toEqual(sent)
    expect(await core.tasks.cancel('another owner', waiting.id)).toBeUndefined()
    expect(await core.store.read(waiting.id)).toEqual(waiting)
  })
})
