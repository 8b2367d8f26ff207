import { describe, expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { openCore } from '../support/core.ts'
import { json, text, type Answer } from '../support/scripted-upstream.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const URLS = ['https://example.com/a.png']

const record = (data: object) => json(200, { code: 200, msg: 'success', data })
const generating = record({ successFlag: 0 })
const success = record({ successFlag: 1, resultInfoJson: { resultUrls: [{ resultUrl: URLS[0] }] } })
/** For a test of hundreds of rounds, also on PostgreSQL and a slow machine. */
const ROUNDS_MS = 120_000
const unknown = json(200, { code: 422, msg: 'recordInfo is null', data: null })

async function accepted(core: Awaited<ReturnType<typeof openCore>>): Promise<UpscaleTask> {
  const { task } = await core.submit()
  if (task === null) throw new Error('It was refused')
  return task
}

const submits = (core: Awaited<ReturnType<typeof openCore>>) =>
  core.upstream.received.filter(({ method }) => method === 'POST')

const codeOf = (task: UpscaleTask | undefined) => task?.failure?.code

describe('a task that nobody calls back about', () => {
  test(
    'is asked about every interval, and, as it grows old, every tenth of its age up to two minutes',
    async () => {
      await using core = await openCore()
      core.upstream.onLookup = generating
      await accepted(core)
      const pollsAt: number[] = []
      for (let second = 1; second < 1_800; second += 1) {
        core.clock.advance(SECOND)
        if ((await core.round()) > 0) pollsAt.push(second)
      }
      expect(pollsAt[0]).toBe(30)
      for (const [index, at] of pollsAt.slice(0, -1).entries()) {
        const longest = Math.min(Math.max(30, at / 10), 120)
        const gap = (pollsAt[index + 1] ?? 0) - at
        expect(gap).toBeGreaterThanOrEqual(longest * 0.9 - 1)
        expect(gap).toBeLessThanOrEqual(longest + 1)
      }
      expect(core.upstream.received.at(-1)).toMatchObject({
        method: 'GET',
        path: '/api/v1/mj/record-info?taskId=upstream-1',
        headers: { authorization: 'Bearer key' },
      })
    },
    ROUNDS_MS,
  )

  test.each<[string, Answer]>([
    ['an object', success],
    ['a JSON text', record({ successFlag: 1, resultInfoJson: JSON.stringify({ resultUrls: URLS }) })],
    ['plain strings', record({ successFlag: '1', resultInfoJson: { resultUrls: URLS } })],
    [
      'result_urls',
      record({ successFlag: 1, resultInfoJson: { result_urls: URLS }, completeTime: 1769670760000 }),
    ],
    [
      'with an ISO time',
      record({ successFlag: 1, resultInfoJson: { resultUrls: URLS }, completeTime: '2026-01-01T00:00:00Z' }),
    ],
  ])('succeeds when record-info says so: %s', async (_name, answer) => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = answer
    core.clock.advance(30 * SECOND)
    await core.round()
    const expiresAt = core.clock.now() + 24 * HOUR
    expect(await core.tasks.find(id)).toMatchObject({
      status: 'SUCCEEDED',
      version: 3,
      images: [{ url: URLS[0], expiresAt }],
      dueAt: null,
    })
  })

  test.each<[string, Answer, string, number | null]>([
    [
      'successFlag 2 with a code',
      record({ successFlag: 2, errorCode: 422 }),
      'UPSTREAM_VALIDATION_FAILED',
      422,
    ],
    [
      'successFlag 3 with a code as a text',
      record({ successFlag: 3, errorCode: '501' }),
      'GENERATION_FAILED',
      501,
    ],
    ['successFlag 2 without a code', record({ successFlag: 2, errorCode: null }), 'GENERATION_FAILED', null],
    ['successFlag 3 with nonsense', record({ successFlag: 3, errorCode: 'oops' }), 'GENERATION_FAILED', null],
    ['an unknown code', record({ successFlag: 2, errorCode: 999 }), 'UPSTREAM_PROTOCOL_ERROR', 999],
  ])('fails when record-info says so: %s', async (_name, answer, code, upstreamCode) => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = answer
    core.clock.advance(30 * SECOND)
    await core.round()
    expect(await core.tasks.find(id)).toMatchObject({
      status: 'FAILED',
      failure: { code, upstreamCode },
      dueAt: null,
    })
  })

  test.each<[string, Answer]>([
    ['still generating', generating],
    ['an unknown flag', record({ successFlag: 7 })],
    ['no flag', record({})],
    ['success without URLs', record({ successFlag: 1, resultInfoJson: null })],
    [
      'success with URLs that are none',
      record({ successFlag: 1, resultInfoJson: { resultUrls: ['javascript:x'] } }),
    ],
    ['another envelope code', json(200, { code: 429, msg: 'x', data: null })],
    ['404 with data', json(200, { code: 404, data: {} })],
    ['an HTML page', text(502, '<html></html>')],
    ['a cut connection', (response) => response.destroy()],
  ])('waits on when record-info says nothing of it: %s', async (_name, answer) => {
    await using core = await openCore()
    const before = await accepted(core)
    core.upstream.onLookup = answer
    core.clock.advance(90 * SECOND)
    expect(await core.round()).toBe(1)
    const task = await core.tasks.find(before.id)
    expect(task).toMatchObject({
      status: 'PROCESSING',
      version: before.version,
      polls: 1,
      history: before.history,
    })
    expect(task?.dueAt).toBeGreaterThan(core.clock.now())
    core.upstream.onLookup = success
    core.clock.advance(2 * MINUTE)
    await core.round()
    expect(await core.tasks.find(before.id)).toMatchObject({ status: 'SUCCEEDED' })
  })

  /** Polls a task at each of these ages, in seconds since its acceptance. */
  async function pollAt(core: Awaited<ReturnType<typeof openCore>>, ages: readonly number[]) {
    let age = 0
    for (const next of ages) {
      core.clock.advance((next - age) * SECOND)
      age = next
      expect(await core.round()).toBe(1)
    }
  }

  test.each([
    ['422', unknown, null],
    ['404', json(200, { code: 404, msg: 'Not Found', data: null }), 404],
  ])(
    'that the upstream does not know (%s) in four polls over three minutes fails by silence: it is polled hourly, and a late success counts',
    async (_code, answer, upstreamCode) => {
      await using core = await openCore()
      const { id } = await accepted(core)
      core.upstream.onLookup = answer
      await pollAt(core, [30, 100, 160, 220, 279])
      expect(await core.tasks.find(id)).toMatchObject({ status: 'PROCESSING', notFoundCount: 4 })
      await pollAt(core, [60])
      const failed = await core.tasks.find(id)
      expect(failed).toMatchObject({
        status: 'FAILED',
        failedBy: 'SILENCE',
        failure: { code: 'UPSTREAM_NOT_FOUND', upstreamCode },
      })
      expect(failed?.history.at(-1)?.note).toBe(
        'the upscale service did not know the task in 5 polls over 4 minutes',
      )
      core.upstream.onLookup = success
      core.clock.advance(HOUR)
      await core.round()
      expect(await core.tasks.find(id)).toMatchObject({ status: 'SUCCEEDED' })
    },
  )

  test('that the upstream does not know for some minutes, and then knows, is not counted lost', async () => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = unknown
    await pollAt(core, [100, 160, 220])
    core.upstream.onLookup = text(502, '<html>')
    await pollAt(core, [60])
    expect(await core.tasks.find(id)).toMatchObject({ notFoundCount: 3 })
    core.upstream.onLookup = generating
    await pollAt(core, [60])
    expect(await core.tasks.find(id)).toMatchObject({ notFoundCount: 0, notFoundSince: null })
    core.upstream.onLookup = unknown
    await pollAt(core, [90, 180, 270])
    expect(await core.tasks.find(id)).toMatchObject({ status: 'PROCESSING', notFoundCount: 3 })
  })

  test.each([
    [500, 'UPSTREAM_SERVER_ERROR'],
    [501, 'GENERATION_FAILED'],
    [505, 'FEATURE_DISABLED'],
    [408, 'UPSTREAM_TIMEOUT'],
  ])('fails when record-info answers with code %i, and a late success still counts', async (code, ours) => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = json(200, { code, msg: 'x', data: null })
    await pollAt(core, [30])
    expect(await core.tasks.find(id)).toMatchObject({
      status: 'FAILED',
      failedBy: 'SILENCE',
      failure: { code: ours, upstreamCode: code },
    })
    core.upstream.onLookup = success
    core.clock.advance(HOUR)
    await core.round()
    expect(await core.tasks.find(id)).toMatchObject({ status: 'SUCCEEDED' })
  })
})

describe('a deadline', () => {
  test('comes with one last look, which may still bring the result', async () => {
    await using core = await openCore({ deadlineMs: 40 * SECOND })
    const { id } = await accepted(core)
    core.upstream.onLookup = generating
    core.clock.advance(30 * SECOND)
    await core.round()
    core.upstream.onLookup = success
    core.clock.advance(10 * SECOND)
    await core.round()
    expect(await core.tasks.find(id)).toMatchObject({ status: 'SUCCEEDED' })
  })

  test('that passed while the service was down fails nothing that was done in the meantime', async () => {
    await using core = await openCore({ pollsPerSecond: 2 })
    const tasks = await Promise.all(Array.from({ length: 10 }, () => accepted(core)))
    core.upstream.onLookup = success
    core.clock.advance(12 * HOUR)
    for (let second = 0; second < 5; second += 1) {
      expect(await core.round()).toBe(2)
      core.clock.advance(SECOND)
    }
    for (const { id } of tasks)
      expect(await core.tasks.find(id)).toMatchObject({ status: 'SUCCEEDED', version: 3 })
  })

  test('is not put off by a last look that gets no answer', async () => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = (response) => response.destroy()
    core.clock.advance(30 * MINUTE)
    await core.round()
    expect(codeOf(await core.tasks.find(id))).toBe('SETTLEMENT_TIMEOUT')
  })

  test('fails an accepted task as SETTLEMENT_TIMEOUT; it is then asked about hourly for a day more', async () => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = generating
    core.clock.advance(30 * MINUTE)
    await core.round()
    expect(await core.tasks.find(id)).toMatchObject({
      status: 'FAILED',
      version: 3,
      failure: { code: 'SETTLEMENT_TIMEOUT', upstreamCode: null, retryAfterMs: null },
    })
    let polls = 0
    for (let hour = 0; hour < 30; hour += 1) {
      core.clock.advance(HOUR)
      polls += await core.round()
    }
    expect(polls).toBe(24)
    expect(await core.tasks.find(id)).toMatchObject({ status: 'FAILED', version: 3, dueAt: null })
  })

  test('is final once the upstream itself says that it failed', async () => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = generating
    core.clock.advance(30 * MINUTE)
    await core.round()
    core.upstream.onLookup = record({ successFlag: 2, errorCode: 500 })
    core.clock.advance(HOUR)
    expect(await core.round()).toBe(1)
    expect(await core.tasks.find(id)).toMatchObject({
      version: 3,
      failure: { code: 'SETTLEMENT_TIMEOUT' },
      dueAt: null,
    })
  })

  test('is taken back by a success that a late poll finds', async () => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = generating
    core.clock.advance(30 * MINUTE)
    await core.round()
    core.upstream.onLookup = success
    core.clock.advance(HOUR)
    await core.round()
    const task = await core.tasks.find(id)
    expect(task).toMatchObject({
      status: 'SUCCEEDED',
      version: 4,
      failure: null,
      dueAt: null,
    })
    expect(task?.history.map(({ status, source, note }) => [status, source, note])).toEqual([
      ['SUBMITTED', 'SUBMIT', 'submitted'],
      ['PROCESSING', 'SUBMIT', 'accepted by the upscale service'],
      ['FAILED', 'DEADLINE', 'no result came by the deadline'],
      ['SUCCEEDED', 'POLL', 'done after all'],
    ])
  })

  test('fails a task whose answer was lost as UPSTREAM_OUTCOME_UNKNOWN, and nothing was sent again', async () => {
    await using core = await openCore()
    core.upstream.onCreate = (response) => response.destroy()
    const { id } = await accepted(core)
    core.clock.advance(30 * MINUTE - 1)
    expect(await core.round()).toBe(0)
    expect(await core.tasks.find(id)).toMatchObject({ status: 'SUBMITTED' })
    core.clock.advance(1)
    await core.round()
    expect(codeOf(await core.tasks.find(id))).toBe('UPSTREAM_OUTCOME_UNKNOWN')
    expect(core.upstream.received).toHaveLength(1)
  })

  test('of what was never accepted does not spend the poll budget', async () => {
    await using core = await openCore({ pollsPerSecond: 2 })
    core.upstream.onCreate = (response) => response.destroy()
    const lost = await Promise.all(Array.from({ length: 30 }, () => accepted(core)))
    core.upstream.onCreate = json(200, { code: 200, data: { taskId: 'upstream-1' } })
    core.clock.advance(SECOND)
    await Promise.all([accepted(core), accepted(core)])
    core.upstream.onLookup = generating
    core.clock.advance(30 * MINUTE - SECOND)
    await core.round()
    core.clock.advance(SECOND)
    core.upstream.received.length = 0
    expect(await core.round()).toBe(32)
    for (const { id } of lost) expect(codeOf(await core.tasks.find(id))).toBe('UPSTREAM_OUTCOME_UNKNOWN')
    expect(core.upstream.received).toHaveLength(2)
  })
})

describe('the poll budget', () => {
  test('lets 500 tasks without a callback settle at 5 a second, whoever else asks', async () => {
    await using core = await openCore()
    const tasks = []
    // In batches: the time-out of a submit is real, and 500 at once may exceed it on a busy machine.
    for (let n = 0; n < 500; n += 20)
      tasks.push(
        ...(await Promise.all(
          Array.from({ length: 20 }, (_, m) => core.submit({ sourceTaskId: `source-${n + m}` })),
        )),
      )
    core.upstream.onLookup = success
    core.clock.advance(29 * SECOND)
    core.upstream.received.length = 0
    let seconds = 0
    for (let left = 500; left > 0 && seconds < 200; seconds += 1) {
      core.clock.advance(SECOND)
      const polls = await core.round()
      expect(polls).toBeLessThanOrEqual(5)
      left -= polls
    }
    expect(seconds).toBe(100)
    expect(core.upstream.received).toHaveLength(500)
    for (const { task } of tasks)
      expect(await core.tasks.find(task?.id ?? '')).toMatchObject({ status: 'SUCCEEDED', version: 3 })
  }, 120_000)

  test('sees what settles between polls one interval later, as far as it reaches: 5 in a second', async () => {
    // The upstream settles everything just after it was asked: 100 tasks fit into an interval, 500 do not.
    for (const [count, latest] of [
      [100, 31],
      [500, 105],
    ] as const) {
      await using core = await openCore()
      for (let n = 0; n < count; n += 20)
        await Promise.all(
          Array.from({ length: 20 }, (_, m) => core.submit({ sourceTaskId: `source-${n + m}` })),
        )
      core.upstream.onLookup = generating
      core.clock.advance(29 * SECOND)
      for (let second = 0; second < count / 5; second += 1) {
        core.clock.advance(SECOND)
        await core.round()
      }
      core.upstream.onLookup = success
      let settledAfter = 0
      const isOpen = async () =>
        (await core.tasks.list({ owner: 'owner', status: 'PROCESSING', after: null, limit: 1 })).length > 0
      for (; settledAfter < 200 && (await isOpen()); settledAfter += 1) {
        core.clock.advance(SECOND)
        expect(await core.round()).toBeLessThanOrEqual(5)
      }
      expect(settledAfter).toBeLessThanOrEqual(latest)
    }
  }, 120_000)

  test('is shared by failed callbacks: without room in time they keep their own code', async () => {
    await using core = await openCore({ pollsPerSecond: 1, confirmTimeoutMs: 999 })
    core.upstream.onLookup = record({ successFlag: 3, errorCode: 422 })
    const codes = []
    for (let n = 0; n < 2; n += 1) {
      const upstreamTaskId = `upstream-${n}`
      core.upstream.onCreate = json(200, { code: 200, data: { taskId: upstreamTaskId } })
      const task = await accepted(core)
      const failure = { code: 'UPSTREAM_SERVER_ERROR', upstreamCode: 500, retryAfterMs: 5_000 } as const
      const news = { upstreamTaskId, outcome: { kind: 'failed', failure } } as const
      expect(await core.tasks.receive(task, news)).toBe('accepted')
      codes.push(codeOf(await core.tasks.find(task.id)))
    }
    expect(codes).toEqual(['UPSTREAM_VALIDATION_FAILED', 'UPSTREAM_SERVER_ERROR'])
  })

  test('lets a callback that waits go before the schedule', async () => {
    await using core = await openCore({ pollsPerSecond: 1 })
    core.upstream.onLookup = generating
    const [first, second] = [await accepted(core), await accepted(core)]
    core.clock.advance(MINUTE)
    expect(await core.round()).toBe(1)
    core.upstream.onLookup = record({ successFlag: 3, errorCode: 422 })
    const failure = { code: 'UPSTREAM_SERVER_ERROR', upstreamCode: 500, retryAfterMs: 5_000 } as const
    const news = { upstreamTaskId: 'upstream-1', outcome: { kind: 'failed', failure } } as const
    const receipt = core.tasks.receive(first, news)
    expect(await core.round()).toBe(0)
    core.clock.advance(SECOND)
    await receipt
    expect(codeOf(await core.tasks.find(first.id))).toBe('UPSTREAM_VALIDATION_FAILED')
    expect(await core.tasks.find(second.id)).toMatchObject({ status: 'PROCESSING' })
  })
})

describe('a failed callback', () => {
  const failure = { code: 'UPSTREAM_SERVER_ERROR', upstreamCode: 500, retryAfterMs: 5_000 } as const
  const news = { upstreamTaskId: 'upstream-1', outcome: { kind: 'failed', failure } } as const

  test('is looked up once, however many copies of it come at the same time', async () => {
    await using core = await openCore()
    const task = await accepted(core)
    core.upstream.onLookup = record({ successFlag: 3, errorCode: 422 })
    const receipts = await Promise.all(Array.from({ length: 20 }, () => core.tasks.receive(task, news)))
    expect(receipts).toEqual(Array(20).fill('accepted'))
    expect(core.upstream.received.filter(({ method }) => method === 'GET')).toHaveLength(1)
    expect(await core.tasks.find(task.id)).toMatchObject({
      version: 3,
      failure: { code: 'UPSTREAM_VALIDATION_FAILED' },
    })
  })

  test('is not asked about for longer than there is time, of which waiting for the budget is a part', async () => {
    // Were the whole minute given to the question, which is never answered, this test would take too long.
    await using core = await openCore({ pollsPerSecond: 1, confirmTimeoutMs: 60 * SECOND })
    const [busy, task] = [await accepted(core), await accepted(core)]
    core.upstream.onLookup = generating
    await core.tasks.receive(busy, news)
    core.upstream.onLookup = () => undefined
    const receipt = core.tasks.receive(task, news)
    core.clock.advance(60 * SECOND - 50)
    expect(await receipt).toBe('accepted')
    expect(codeOf(await core.tasks.find(task.id))).toBe('UPSTREAM_SERVER_ERROR')
  })

  test('of another upstream task, as it turns out while record-info is asked, changes nothing', async () => {
    await using core = await openCore()
    const answering = Promise.withResolvers<() => void>()
    core.upstream.onCreate = (response, request) =>
      answering.resolve(() => {
        json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request)
      })
    const submission = core.submit()
    const answer = await answering.promise
    const [task] = await core.tasks.list({ owner: 'owner', status: null, after: null, limit: 1 })
    if (task === undefined) throw new Error('Not stored')
    const asked = Promise.withResolvers<() => void>()
    core.upstream.onLookup = (response, request) =>
      asked.resolve(() => {
        record({ successFlag: 2, errorCode: 501 })(response, request)
      })
    const receipt = core.tasks.receive(task, { ...news, upstreamTaskId: 'upstream-0' })
    const tell = await asked.promise
    answer()
    await submission
    tell()
    expect(await receipt).toBe('mismatch')
    expect(await core.tasks.find(task.id)).toMatchObject({
      status: 'PROCESSING',
      version: 2,
      upstreamTaskId: 'upstream-1',
    })
  })
})

describe('an inconclusive callback', () => {
  const news = { upstreamTaskId: 'upstream-1', outcome: { kind: 'inconclusive' } } as const
  const polls = (core: Awaited<ReturnType<typeof openCore>>) =>
    core.upstream.received.filter(({ method }) => method === 'GET').length

  test('makes us ask at once', async () => {
    await using core = await openCore()
    const task = await accepted(core)
    core.upstream.onLookup = success
    await core.tasks.receive(task, news)
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'SUCCEEDED' })
  })

  test('that found no end is followed by a poll after five seconds, however often it is replayed', async () => {
    await using core = await openCore()
    const task = await accepted(core)
    core.upstream.onLookup = generating
    for (let second = 0; second < 20; second += 1) {
      for (let replay = 0; replay < 3; replay += 1) await core.tasks.receive(task, news)
      await core.round()
      core.clock.advance(SECOND)
    }
    // One by the callbacks and one by the schedule in each five seconds.
    expect(polls(core)).toBeLessThanOrEqual(8)
    core.upstream.onLookup = success
    core.clock.advance(5 * SECOND)
    await core.round()
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'SUCCEEDED' })
  })

  test.each([
    ['by the upstream’s word', record({ successFlag: 3, errorCode: 501 })],
    ['by silence', json(200, { code: 501, msg: 'x', data: null })],
  ])('about a task that has failed %s changes nothing and costs no poll', async (_name, answer) => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = answer
    core.clock.advance(30 * SECOND)
    await core.round()
    const failed = await core.tasks.find(id)
    if (failed?.status !== 'FAILED') throw new Error('It has not failed')
    const before = polls(core)
    for (let replay = 0; replay < 10; replay += 1) {
      expect(await core.tasks.receive(failed, news)).toBe('accepted')
      core.clock.advance(SECOND)
      expect(await core.round()).toBe(0)
    }
    expect(await core.tasks.find(id)).toEqual(failed)
    expect(polls(core)).toBe(before)
  })

  test('that an earlier version has left due for ever is rescheduled by the first poll', async () => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = record({ successFlag: 3, errorCode: 501 })
    core.clock.advance(30 * SECOND)
    await core.round()
    const failed = await core.tasks.find(id)
    if (failed === undefined) throw new Error('It is gone')
    await core.store.update(failed, { ...failed, dueAt: 0 })
    expect(await core.round()).toBe(1)
    expect(await core.tasks.find(id)).toEqual({ ...failed, dueAt: null, polls: failed.polls + 1 })
  })
})

describe('CALLBACK_CONFIRM', () => {
  const news = {
    upstreamTaskId: 'upstream-1',
    outcome: { kind: 'succeeded', imageUrls: ['https://evil.example/x.png'] },
  } as const

  test('believes a success only as record-info tells it', async () => {
    await using core = await openCore({ confirmCallbacks: true })
    const task = await accepted(core)
    core.upstream.onLookup = success
    await core.tasks.receive(task, news)
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'SUCCEEDED', images: [{ url: URLS[0] }] })
  })

  test('has the upstream call again where a success is not confirmed yet and the task is polled no more', async () => {
    await using core = await openCore({ confirmCallbacks: true })
    const { id } = await accepted(core)
    core.upstream.onLookup = record({ successFlag: 3, errorCode: 501 })
    core.clock.advance(30 * SECOND)
    await core.round()
    const failed = await core.tasks.find(id)
    if (failed?.status !== 'FAILED') throw new Error('It has not failed')
    core.upstream.onLookup = generating
    expect(await core.tasks.receive(failed, news)).toBe('unconfirmed')
    core.upstream.onLookup = success
    core.clock.advance(MINUTE)
    expect(await core.tasks.receive(failed, news)).toBe('accepted')
    expect(await core.tasks.find(id)).toMatchObject({ status: 'SUCCEEDED' })
  })

  test('lets a success wait that record-info does not know of yet', async () => {
    await using core = await openCore({ confirmCallbacks: true })
    const task = await accepted(core)
    core.upstream.onLookup = generating
    await core.tasks.receive(task, news)
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'PROCESSING', images: null })
    core.upstream.onLookup = success
    core.clock.advance(5 * SECOND)
    await core.round()
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'SUCCEEDED', images: [{ url: URLS[0] }] })
  })
})

test('settled tasks are removed when they are old enough, and kept when retention is off', async () => {
  for (const [retentionMs, left] of [
    [24 * HOUR, 0],
    [null, 1],
  ] as const) {
    await using core = await openCore({ retentionMs })
    const { id } = await accepted(core)
    core.upstream.onLookup = success
    core.clock.advance(30 * SECOND)
    await core.round()
    core.clock.advance(24 * HOUR)
    await core.round()
    expect(await core.tasks.find(id)).toBeDefined()
    core.clock.advance(SECOND)
    await core.round()
    expect(await core.tasks.list({ owner: 'owner', status: null, after: null, limit: 10 })).toHaveLength(left)
  }
})

describe('two requests for the same', () => {
  test('of 100 at once one is sent, and all show the same task as accepted', async () => {
    await using core = await openCore()
    const all = await Promise.all(Array.from({ length: 100 }, () => core.submit({ force: false })))
    expect(core.upstream.received).toHaveLength(1)
    expect(new Set(all.map(({ task }) => task?.id)).size).toBe(1)
    expect(all.map(({ task }) => task?.status)).toEqual(Array(100).fill('PROCESSING'))
    expect(all.filter(({ replayed }) => !replayed)).toHaveLength(1)
  })

  test('that is refused is refused to all 100', async () => {
    await using core = await openCore()
    core.upstream.onCreate = json(200, { code: 402, msg: 'x' })
    const all = await Promise.all(
      Array.from({ length: 100 }, () => core.submit({ force: false, idempotencyKey: 'key' })),
    )
    expect(core.upstream.received).toHaveLength(1)
    expect(all.map(({ task, failure }) => [task, failure?.code])).toEqual(
      Array(100).fill([null, 'INSUFFICIENT_CREDITS']),
    )
  })

  test('whose answer is lost are SUBMITTED as soon as that is known', async () => {
    await using core = await openCore()
    core.upstream.onCreate = (response) => response.destroy()
    const all = await Promise.all(Array.from({ length: 10 }, () => core.submit({ force: false })))
    expect(all.map(({ task }) => task?.status)).toEqual(Array(10).fill('SUBMITTED'))
    expect(core.upstream.received).toHaveLength(1)
  })

  test('a key holds for 24 hours, a picture as long as its images', async () => {
    await using core = await openCore()
    const first = await core.submit({ force: false, idempotencyKey: 'key' })
    core.upstream.onLookup = success
    core.clock.advance(30 * SECOND)
    await core.round()
    core.clock.advance(24 * HOUR - 30 * SECOND - 1)
    const again = (idempotencyKey: string | null) => core.submit({ force: false, idempotencyKey })
    expect((await again('key')).task?.id).toBe(first.task?.id)
    core.clock.advance(1)
    expect(await again('key')).toMatchObject({ replayed: true, task: { id: first.task?.id } })
    core.clock.advance(30 * SECOND)
    expect(await again(null)).toMatchObject({ replayed: false })
  })

  test('after a failure is paid for again; a late success does not take the picture from the newer one', async () => {
    await using core = await openCore()
    const first = await core.submit({ force: false })
    core.upstream.onLookup = generating
    core.clock.advance(30 * MINUTE)
    await core.round()
    const second = await core.submit({ force: false })
    expect(second).toMatchObject({ replayed: false })
    core.upstream.onLookup = success
    core.clock.advance(HOUR)
    await core.round()
    expect(await core.tasks.find(first.task?.id ?? '')).toMatchObject({ status: 'SUCCEEDED' })
    expect(await core.submit({ force: false })).toMatchObject({
      replayed: true,
      task: { id: second.task?.id },
    })
  })

  test('after a late success, which is there, is not paid for again', async () => {
    await using core = await openCore()
    const first = await core.submit({ force: false })
    core.upstream.onLookup = generating
    core.clock.advance(30 * MINUTE)
    await core.round()
    core.upstream.onLookup = success
    core.clock.advance(HOUR)
    await core.round()
    expect(await core.submit({ force: false })).toMatchObject({
      replayed: true,
      task: { id: first.task?.id },
    })
    expect(submits(core)).toHaveLength(1)
  })

  test.each(['PROCESSING', 'SUCCEEDED'])(
    'with force that is refused leaves the one that is %s in its place',
    async (status) => {
      await using core = await openCore()
      const first = await core.submit({ force: false })
      if (status === 'SUCCEEDED') {
        core.upstream.onLookup = success
        core.clock.advance(30 * SECOND)
        await core.round()
      }
      core.upstream.onCreate = json(200, { code: 429, msg: 'x', data: null })
      expect(await core.submit({ force: true })).toMatchObject({ task: null, replayed: false })
      expect(await core.submit({ force: false })).toMatchObject({
        replayed: true,
        task: { id: first.task?.id, status },
      })
      expect(submits(core)).toHaveLength(2)
    },
  )

  test('that wait for the same answer look again each second: the hint of another process may never come', async () => {
    await using core = await openCore()
    const asked = Promise.withResolvers<void>()
    core.upstream.onCreate = () => asked.resolve()
    await using elsewhere = await core.database.open(createLocalHints())
    const first = core.submit({ force: false })
    await asked.promise
    const [task] = await core.tasks.list({ owner: 'owner', status: null, after: null, limit: 1 })
    if (task === undefined) throw new Error('Not stored')
    const before = core.clock.pending
    const replay = core.submit({ force: false })
    while (core.clock.pending === before) await new Promise(setImmediate)
    await elsewhere.store.update(task, {
      ...task,
      version: 2,
      revision: 2,
      status: 'PROCESSING',
      answerBy: null,
    })
    core.clock.advance(SECOND)
    expect(await replay).toMatchObject({ replayed: true, task: { status: 'PROCESSING' } })
    await first
  })

  test('that wait are shown as SUBMITTED when the service ends; the first still gets its answer', async () => {
    await using core = await openCore()
    const answering = Promise.withResolvers<() => void>()
    core.upstream.onCreate = (response, request) =>
      answering.resolve(() => {
        json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request)
      })
    const first = core.submit({ force: false })
    const answer = await answering.promise
    const replay = core.submit({ force: false })
    await new Promise(setImmediate)
    const drained = core.tasks.drain()
    expect(await replay).toMatchObject({ replayed: true, task: { status: 'SUBMITTED' } })
    answer()
    await drained
    expect(await first).toMatchObject({ replayed: false, task: { status: 'PROCESSING' } })
  })

  test('that join a running task by its picture are its own from then on, also after it has failed', async () => {
    await using core = await openCore()
    const first = await core.submit({ force: false, idempotencyKey: 'one' })
    await core.submit({ force: false, idempotencyKey: 'two' })
    core.upstream.onLookup = record({ successFlag: 2, errorCode: 501 })
    core.clock.advance(30 * SECOND)
    await core.round()
    for (const idempotencyKey of ['one', 'two'])
      expect(await core.submit({ force: false, idempotencyKey })).toMatchObject({
        replayed: true,
        task: { id: first.task?.id, status: 'FAILED' },
      })
    expect(core.upstream.received.filter(({ method }) => method === 'POST')).toHaveLength(1)
  })
})

describe('what counts as failed, and turns out to be accepted', () => {
  const failure = { code: 'UPSTREAM_SERVER_ERROR', upstreamCode: 500, retryAfterMs: 5_000 } as const
  const inconclusive = { upstreamTaskId: 'u9', outcome: { kind: 'inconclusive' } } as const

  /** A task that was refused at submit. */
  async function refused(
    core: Awaited<ReturnType<typeof openCore>>,
    answer: Answer,
    key: string | null = null,
  ) {
    core.upstream.onCreate = answer
    const submission = await core.submit({ force: false, idempotencyKey: key })
    core.upstream.onCreate = json(200, { code: 200, data: { taskId: 'upstream-1' } })
    const id = 'failedTaskId' in submission ? submission.failedTaskId : null
    const task = await core.tasks.find(id ?? '')
    if (task === undefined) throw new Error('It was not refused')
    return task
  }

  test.each([
    [false, inconclusive],
    [true, { upstreamTaskId: 'u9', outcome: { kind: 'succeeded', imageUrls: URLS } } as const],
  ])('is asked about until it is clear (CALLBACK_CONFIRM %s)', async (confirmCallbacks, news) => {
    await using core = await openCore({ confirmCallbacks })
    const task = await refused(core, text(404, '<html>'))
    core.upstream.onLookup = text(502, '<html>')
    expect(await core.tasks.receive(task, news)).toBe('accepted')
    await core.round()
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'FAILED' })
    core.upstream.onLookup = success
    core.clock.advance(30 * SECOND)
    await core.round()
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'SUCCEEDED', version: 3 })
  })

  test('keeps its idempotency key, and is not sent again', async () => {
    await using core = await openCore()
    const task = await refused(core, json(200, { code: 500, msg: 'x' }), 'key')
    core.upstream.onLookup = generating
    await core.tasks.receive(task, inconclusive)
    await core.round()
    expect(await core.submit({ force: false, idempotencyKey: 'key' })).toMatchObject({
      replayed: true,
      task: { id: task.id, status: 'FAILED' },
    })
    expect(submits(core)).toHaveLength(1)
  })

  test('because its answer was lost, is looked up when a failed callback comes after the deadline', async () => {
    await using core = await openCore()
    core.upstream.onCreate = (response) => response.destroy()
    const { id } = await accepted(core)
    core.clock.advance(30 * MINUTE)
    await core.round()
    const task = await core.tasks.find(id)
    if (task === undefined) throw new Error('It is gone')
    expect(codeOf(task)).toBe('UPSTREAM_OUTCOME_UNKNOWN')
    core.upstream.onLookup = success
    await core.tasks.receive(task, { upstreamTaskId: 'u9', outcome: { kind: 'failed', failure } })
    expect(await core.tasks.find(id)).toMatchObject({ status: 'SUCCEEDED' })
  })

  test('by a callback about another upstream task is looked after under its own id', async () => {
    await using core = await openCore()
    core.upstream.onLookup = generating
    core.upstream.onCreate = (response, request) => {
      const { callBackUrl } = JSON.parse(request.body) as { callBackUrl: string }
      void (async () => {
        const task = await core.tasks.find(callBackUrl.split('/')[3] ?? '')
        if (task !== undefined)
          await core.tasks.receive(task, { upstreamTaskId: 'other', outcome: { kind: 'failed', failure } })
        json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request)
      })()
    }
    const { id } = await accepted(core)
    expect(await core.tasks.find(id)).toMatchObject({ status: 'FAILED', upstreamTaskId: 'upstream-1' })
    for (let n = 0; n < 3; n += 1) {
      core.clock.advance(30 * SECOND)
      expect(await core.round()).toBe(1)
    }
    core.upstream.onLookup = success
    core.clock.advance(30 * SECOND)
    await core.round()
    expect(await core.tasks.find(id)).toMatchObject({ status: 'SUCCEEDED' })
  })
})

test('a task that has succeeded is never polled, even if it was due', async () => {
  await using core = await openCore()
  const task = await accepted(core)
  core.upstream.onLookup = success
  await core.store.update(task, { ...task, dueAt: 0 })
  const read = await core.tasks.find(task.id)
  const expiresAt = core.clock.now() + HOUR
  const images = [{ url: 'https://example.com/a.png', expiresAt, facts: null, copyState: 'OFF' as const }]
  const done = { version: 3, revision: 4, status: 'SUCCEEDED', settledAt: core.clock.now(), images } as const
  if (read) await core.store.update(read, { ...read, ...done })
  core.clock.advance(HOUR)
  expect(await core.round()).toBe(0)
})

describe("the upstream's answer", () => {
  test('counts more than the id that an earlier callback gave', async () => {
    await using core = await openCore()
    const answering = Promise.withResolvers<() => void>()
    core.upstream.onCreate = (response, request) =>
      answering.resolve(() => {
        json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request)
      })
    const submission = core.submit()
    const answer = await answering.promise
    const [task] = await core.tasks.list({ owner: 'owner', status: null, after: null, limit: 1 })
    if (task === undefined) throw new Error('Not stored')
    const news = { upstreamTaskId: 'forged', outcome: { kind: 'inconclusive' } } as const
    await core.tasks.receive(task, news)
    expect(await core.tasks.find(task.id)).toMatchObject({ upstreamTaskId: 'forged' })
    answer()
    expect(await submission).toMatchObject({ task: { upstreamTaskId: 'upstream-1' } })
    core.upstream.onLookup = success
    core.clock.advance(30 * SECOND)
    await core.round()
    expect(core.upstream.received.at(-1)?.path).toContain('taskId=upstream-1')
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'SUCCEEDED' })
  })

  test('is told to the store again when the store fails, and is not lost', async () => {
    await using core = await openCore()
    core.upstream.onCreate = (response, request) => {
      void core.database
        .breakTables()
        .then(() => json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request))
    }
    const submission = core.submit()
    // First the timer of the lease on the answer, which ends with the answer; then that of the retry.
    while (core.clock.pending === 0) await new Promise(setImmediate)
    while (core.clock.pending > 0) await new Promise(setImmediate)
    while (core.clock.pending === 0) await new Promise(setImmediate)
    await core.database.mendTables()
    core.clock.advance(SECOND)
    expect(await submission).toMatchObject({ task: { status: 'PROCESSING', upstreamTaskId: 'upstream-1' } })
    expect(core.upstream.received).toHaveLength(1)
  })

  test('is kept and told later, though the caller was told of an error', async () => {
    await using core = await openCore()
    core.upstream.onCreate = (response, request) => {
      core.clock.advance(30 * SECOND)
      void core.database
        .breakTables()
        .then(() => json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request))
    }
    await expect(core.submit()).rejects.toThrow(/no such table|does not exist/)
    await core.database.mendTables()
    const drained = core.tasks.drain()
    core.clock.advance(SECOND)
    await drained
    const [task] = await core.tasks.list({ owner: 'owner', status: null, after: null, limit: 1 })
    expect(task).toMatchObject({ status: 'PROCESSING', upstreamTaskId: 'upstream-1' })
  })

  test('is given up when the store fails until the deadline', async () => {
    await using core = await openCore({ deadlineMs: 10 * SECOND })
    core.upstream.onCreate = (response, request) => {
      core.clock.advance(10 * SECOND)
      void core.database
        .breakTables()
        .then(() => json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request))
    }
    await expect(core.submit()).rejects.toThrow(/no such table|does not exist/)
    await core.tasks.drain()
  })
})
