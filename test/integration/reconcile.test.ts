import { describe, expect, test } from '@jest/globals'
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
const unknown = json(200, { code: 422, msg: 'recordInfo is null', data: null })

async function accepted(core: Awaited<ReturnType<typeof openCore>>): Promise<UpscaleTask> {
  const { task } = await core.submit()
  if (task === null) throw new Error('It was refused')
  return task
}

const codeOf = (task: UpscaleTask | undefined) => task?.failure?.code

describe('a task that nobody calls back about', () => {
  test('is asked about one interval after acceptance, not before, and then ever more rarely up to two minutes', async () => {
    await using core = await openCore()
    core.upstream.onLookup = generating
    await accepted(core)
    const pollsAt: number[] = []
    for (let second = 1; second <= 600; second += 1) {
      core.clock.advance(SECOND)
      if ((await core.round()) > 0) pollsAt.push(second)
    }
    const gaps = pollsAt.map((at, index) => at - (pollsAt[index - 1] ?? 0))
    expect(gaps[0]).toBe(30)
    for (const [index, expected] of [30, 30, 60, 120, 120].entries()) {
      expect(gaps[index]).toBeGreaterThanOrEqual(expected * 0.9)
      expect(gaps[index]).toBeLessThanOrEqual(expected * 1.1 + 1)
    }
    expect(core.upstream.received.at(-1)).toMatchObject({
      method: 'GET',
      path: '/api/v1/mj/record-info?taskId=upstream-1',
      headers: { authorization: 'Bearer key' },
    })
  })

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
    ['another envelope code', json(200, { code: 500, msg: 'x', data: null })],
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

  test('may be unknown to the upstream in its first minute, and has failed when it is later', async () => {
    await using core = await openCore()
    const { id } = await accepted(core)
    core.upstream.onLookup = unknown
    core.clock.advance(30 * SECOND)
    await core.round()
    expect(await core.tasks.find(id)).toMatchObject({ status: 'PROCESSING' })
    core.clock.advance(40 * SECOND)
    await core.round()
    expect(await core.tasks.find(id)).toMatchObject({
      status: 'FAILED',
      failure: { code: 'UPSTREAM_NOT_FOUND', upstreamCode: 422 },
    })
  })
})

describe('a deadline', () => {
  test('is preceded by one last look, which may still bring the result', async () => {
    await using core = await openCore({ deadlineMs: 40 * SECOND })
    const { id } = await accepted(core)
    core.upstream.onLookup = generating
    core.clock.advance(30 * SECOND)
    await core.round()
    core.upstream.onLookup = success
    core.clock.advance(9 * SECOND)
    await core.round()
    expect(await core.tasks.find(id)).toMatchObject({ status: 'SUCCEEDED' })
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
      failure: { code: 'SETTLEMENT_TIMEOUT', upstreamCode: null, retryAfterMs: 0 },
    })
    let polls = 0
    for (let hour = 0; hour < 30; hour += 1) {
      core.clock.advance(HOUR)
      polls += await core.round()
    }
    expect(polls).toBe(24)
    expect(await core.tasks.find(id)).toMatchObject({ status: 'FAILED', version: 3, dueAt: null })
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
      pictureClaim: null,
    })
    expect(task?.history.map(({ status, source, note }) => [status, source, note])).toEqual([
      ['SUBMITTED', 'SUBMIT', 'submitted'],
      ['PROCESSING', 'SUBMIT', 'accepted by the upscale service'],
      ['FAILED', 'DEADLINE', 'nothing was heard by the deadline'],
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

  test('does not wait for the poll budget', async () => {
    await using core = await openCore({ pollsPerSecond: 1, deadlineMs: MINUTE })
    const tasks = await Promise.all(Array.from({ length: 30 }, () => accepted(core)))
    core.clock.advance(MINUTE)
    await core.round()
    for (const { id } of tasks) expect(codeOf(await core.tasks.find(id))).toBe('SETTLEMENT_TIMEOUT')
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
  })

  test('is shared by failed callbacks: without room in time they keep their own code', async () => {
    await using core = await openCore({ pollsPerSecond: 1, confirmTimeoutMs: 500 })
    core.upstream.onLookup = record({ successFlag: 3, errorCode: 422 })
    const codes = []
    for (let n = 0; n < 2; n += 1) {
      const task = await accepted(core)
      const failure = { code: 'UPSTREAM_SERVER_ERROR', upstreamCode: 500, retryAfterMs: 5_000 } as const
      const news = { upstreamTaskId: 'upstream-1', outcome: { kind: 'failed', failure } } as const
      expect(await core.tasks.receive(task, news, 'c')).toBe('taken')
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
    const receipt = core.tasks.receive(first, news, 'c')
    expect(await core.round()).toBe(0)
    core.clock.advance(SECOND)
    await receipt
    expect(codeOf(await core.tasks.find(first.id))).toBe('UPSTREAM_VALIDATION_FAILED')
    expect(await core.tasks.find(second.id)).toMatchObject({ status: 'PROCESSING' })
  })
})

describe('a callback that settles nothing', () => {
  test('makes its task due at once and wakes the reconciler', async () => {
    await using core = await openCore()
    const task = await accepted(core)
    const news = { upstreamTaskId: 'upstream-1', outcome: { kind: 'inconclusive' } } as const
    await core.tasks.receive(task, news, 'c')
    expect(core.rings()).toBe(1)
    core.upstream.onLookup = success
    expect(await core.round()).toBe(1)
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'SUCCEEDED' })
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
    await core.tasks.receive(task, news, 'c')
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'SUCCEEDED', images: [{ url: URLS[0] }] })
  })

  test('lets a success wait that record-info does not know of yet', async () => {
    await using core = await openCore({ confirmCallbacks: true })
    const task = await accepted(core)
    core.upstream.onLookup = generating
    await core.tasks.receive(task, news, 'c')
    expect(await core.tasks.find(task.id)).toMatchObject({ status: 'PROCESSING', images: null })
    expect(core.rings()).toBe(1)
    core.upstream.onLookup = success
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

  test('after a failure, or with force, is paid for again, and a late success does not take the picture back', async () => {
    await using core = await openCore()
    const first = await core.submit({ force: false })
    core.clock.advance(30 * MINUTE)
    await core.round()
    const second = await core.submit({ force: false })
    expect(second).toMatchObject({ replayed: false })
    core.upstream.onLookup = success
    core.clock.advance(HOUR)
    await core.round()
    expect(await core.tasks.find(first.task?.id ?? '')).toMatchObject({
      status: 'SUCCEEDED',
      pictureClaim: null,
    })
  })
})
