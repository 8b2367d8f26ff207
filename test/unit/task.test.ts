import { describe, expect, test } from '@jest/globals'
import { toFailure, toUpstreamFailure, UPSCALE_ERROR_CODES, type Failure } from '../../src/tasks/failure.ts'
import { toDueAt } from '../../src/tasks/changes.ts'
import type { Report } from '../../src/tasks/report.ts'
import { applyReport } from '../../src/tasks/transitions.ts'
import { isUncharged, TASK_STATUSES, type TaskStatus, type UpscaleTask } from '../../src/tasks/task.ts'
import { NOT_QUEUED } from '../support/new-task.ts'

const CREATED = Date.parse('2026-01-01T00:00:00Z')
const NOW = CREATED + 60_000
const DEADLINE = CREATED + 1_800_000

const UNINSPECTED = { facts: null, copyState: 'OFF' } as const
const IMAGES = [
  { url: 'https://cdn.example/a.png', expiresAt: NOW + 86_400_000, ...UNINSPECTED },
  { url: 'https://cdn.example/b.png', expiresAt: NOW + 86_300_000, ...UNINSPECTED },
]
const OLD_IMAGES = [{ url: 'https://cdn.example/old.png', expiresAt: NOW + 3_600_000, ...UNINSPECTED }]
const FAILURE: Failure = { ...toUpstreamFailure(500), correlationId: 'correlation-1' }
const OLD_FAILURE: Failure = { ...toFailure('SETTLEMENT_TIMEOUT'), correlationId: 'correlation-0' }

const at = NOW
const REPORTS: Record<Report['kind'], Report> = freeze({
  accepted: { kind: 'accepted', at, source: 'SUBMIT', upstreamTaskId: 'up-1', pollAt: NOW + 30_000 },
  unanswered: { kind: 'unanswered', at, source: 'SUBMIT', note: 'lost' },
  refused: { kind: 'refused', at, source: 'SUBMIT', failure: FAILURE, note: 'refused' },
  succeeded: {
    kind: 'succeeded',
    at,
    source: 'CALLBACK',
    upstreamTaskId: 'up-1',
    images: IMAGES,
    inspectBy: null,
  },
  inspected: { kind: 'inspected', at, source: 'INSPECTION', images: [], retryAt: null, note: 'inspected' },
  failed: {
    kind: 'failed',
    at,
    source: 'POLL',
    upstreamTaskId: 'up-1',
    failure: FAILURE,
    failedBy: 'UPSTREAM',
    note: 'failed',
  },
  sending: {
    kind: 'sending',
    at,
    source: 'SUBMIT',
    callbackTokenHash: 'new hash',
    answerBy: NOW + 6_000,
    deadlineAt: NOW + 1_800_000,
    estimatedDoneAt: NOW + 60_000,
  },
  deferred: {
    kind: 'deferred',
    engine: 'kie-midjourney',
    at,
    source: 'SUBMIT',
    callbackTokenHash: 'another hash',
    queueRank: 7,
    queueDueAt: NOW + 10_000,
    queueAttempts: 1,
    deadlineAt: DEADLINE,
    failure: FAILURE,
    note: 'refused',
  },
  moved: {
    kind: 'moved',
    engine: 'legnext',
    at,
    source: 'SUBMIT',
    queueRank: 7,
    queueDueAt: NOW,
    note: 'moved',
  },
  withdrawn: { kind: 'withdrawn', at, source: 'OWNER', failure: FAILURE, note: 'canceled' },
  overdue: { kind: 'overdue', at, source: 'DEADLINE', deadlineAt: DEADLINE },
})
const KINDS = Object.keys(REPORTS) as Report['kind'][]
const CELLS = TASK_STATUSES.flatMap((status) => KINDS.map((kind) => [status, kind] as const))

/** A task as it normally stands in a status. Frozen, so that a write to it throws. */
function taskIn(status: TaskStatus, facts: Partial<UpscaleTask> = {}): UpscaleTask {
  const submitted: UpscaleTask = {
    id: 'task-1',
    version: 4,
    revision: 5,
    owner: 'owner-1',
    correlationId: 'correlation-1',
    traceparent: null,
    status: 'SUBMITTED',
    sourceTaskId: 'source-1',
    imageIndex: 2,
    waterMark: null,
    images: null,
    sourceImage: null,
    failure: null,
    failedBy: null,
    engine: 'kie-midjourney',
    requestedEngine: null,
    creditsConsumed: null,
    upstreamTaskId: null,
    callbackTokenHash: 'hash',
    pictureDigest: 'picture',
    imagesExpireAt: null,
    resultDueAt: null,
    resultAttempts: 0,
    createdAt: CREATED,
    updatedAt: CREATED,
    settledAt: null,
    deadlineAt: DEADLINE,
    answerBy: CREATED + 90_000,
    ...NOT_QUEUED,
    dueAt: null,
    polls: 0,
    notFoundCount: 0,
    notFoundSince: null,
    history: [{ at: CREATED, status: 'SUBMITTED', source: 'SUBMIT', upstreamCode: null, note: 'submitted' }],
  }
  const accepted = { upstreamTaskId: 'up-1', updatedAt: CREATED + 1_000, answerBy: null }
  const settled = { ...accepted, updatedAt: CREATED + 9_000, settledAt: CREATED + 9_000, dueAt: null }
  const standing: Record<TaskStatus, Partial<UpscaleTask>> = {
    SUBMITTED: {},
    PROCESSING: { ...accepted, dueAt: CREATED + 31_000, polls: 1 },
    SUCCEEDED: { ...settled, images: OLD_IMAGES, imagesExpireAt: NOW + 3_600_000 },
    FAILED: { ...settled, failure: OLD_FAILURE, failedBy: 'SILENCE' },
  }
  return freeze({ ...submitted, status, ...standing[status], ...facts })
}

describe('what a report makes of a task', () => {
  test('SUBMITTED, accepted: it is PROCESSING under the upstream’s id', () => {
    expect(applyReport(taskIn('SUBMITTED'), REPORTS.accepted)).toMatchObject({
      status: 'PROCESSING',
      version: 5,
      images: null,
      failure: null,
      upstreamTaskId: 'up-1',
      answerBy: null,
      updatedAt: NOW,
      settledAt: null,
    })
  })

  test('SUBMITTED, unanswered: it stays as it is, and no answer is waited for any longer', () => {
    const task = taskIn('SUBMITTED')
    const next = applyReport(task, REPORTS.unanswered)
    expect(next).toEqual({ ...task, revision: 6, answerBy: null, history: expect.any(Array) })
  })

  test('SUBMITTED, refused: it is FAILED, marked as never accepted, and over', () => {
    expect(applyReport(taskIn('SUBMITTED'), REPORTS.refused)).toMatchObject({
      status: 'FAILED',
      version: 5,
      failure: FAILURE,
      failedBy: 'REFUSAL',
      images: null,
      engine: 'kie-midjourney',
      requestedEngine: null,
      creditsConsumed: null,
      upstreamTaskId: null,
      answerBy: null,
      updatedAt: NOW,
      settledAt: NOW,
      dueAt: null,
    })
  })

  test.each(['SUBMITTED', 'PROCESSING'] as const)(
    '%s, succeeded: it is SUCCEEDED with its images',
    (status) => {
      expect(applyReport(taskIn(status), REPORTS.succeeded)).toMatchObject({
        status: 'SUCCEEDED',
        version: 5,
        images: IMAGES,
        failure: null,
        failedBy: null,
        upstreamTaskId: 'up-1',
        updatedAt: NOW,
        settledAt: NOW,
        dueAt: null,
      })
    },
  )

  test.each(['SUBMITTED', 'PROCESSING'] as const)(
    '%s, failed: it is FAILED, but as one that was accepted',
    (status) => {
      expect(applyReport(taskIn(status), REPORTS.failed)).toMatchObject({
        status: 'FAILED',
        version: 5,
        failure: FAILURE,
        failedBy: 'UPSTREAM',
        images: null,
        upstreamTaskId: 'up-1',
        updatedAt: NOW,
        settledAt: NOW,
      })
    },
  )

  test.each([
    ['SUBMITTED', 'UPSTREAM_OUTCOME_UNKNOWN', null, null],
    ['PROCESSING', 'SETTLEMENT_TIMEOUT', null, 'up-1'],
  ] as const)('%s, overdue: it is FAILED with %s', (status, code, retryAfterMs, upstreamTaskId) => {
    expect(applyReport(taskIn(status), REPORTS.overdue)).toMatchObject({
      status: 'FAILED',
      version: 5,
      failure: { code, upstreamCode: null, retryAfterMs, correlationId: 'correlation-1' },
      failedBy: 'SILENCE',
      images: null,
      upstreamTaskId,
      updatedAt: NOW,
      settledAt: NOW,
    })
  })

  test('FAILED, succeeded: what was paid for is not thrown away', () => {
    expect(applyReport(taskIn('FAILED'), REPORTS.succeeded)).toMatchObject({
      status: 'SUCCEEDED',
      version: 5,
      images: IMAGES,
      failure: null,
      updatedAt: NOW,
      settledAt: NOW,
      dueAt: null,
    })
  })

  test('FAILED by a refusal, succeeded: it counts as accepted from then on', () => {
    const task = taskIn('FAILED', { failedBy: 'REFUSAL', upstreamTaskId: null, failure: FAILURE })
    expect(applyReport(task, REPORTS.succeeded)).toMatchObject({
      status: 'SUCCEEDED',
      failedBy: null,
      failure: null,
      upstreamTaskId: 'up-1',
    })
  })

  test('FAILED by silence or a refusal, failed: the failure shown stays, and the upstream has had its last word', () => {
    for (const failedBy of ['SILENCE', 'REFUSAL'] as const) {
      const task = taskIn('FAILED', { failedBy, upstreamTaskId: null, dueAt: NOW })
      expect(applyReport(task, REPORTS.failed)).toEqual({
        ...task,
        revision: 6,
        failedBy: 'UPSTREAM',
        upstreamTaskId: 'up-1',
        dueAt: null,
        history: expect.any(Array),
      })
    }
  })

  test('FAILED by the upstream, failed: nothing', () => {
    expect(applyReport(taskIn('FAILED', { failedBy: 'UPSTREAM' }), REPORTS.failed)).toBeUndefined()
  })

  test.each([
    ['PROCESSING', 'accepted'],
    ['PROCESSING', 'unanswered'],
    ['PROCESSING', 'refused'],
    ['SUCCEEDED', 'accepted'],
    ['SUCCEEDED', 'unanswered'],
    ['SUCCEEDED', 'refused'],
    ['SUCCEEDED', 'succeeded'],
    ['SUCCEEDED', 'failed'],
    ['SUCCEEDED', 'overdue'],
    ['FAILED', 'accepted'],
    ['FAILED', 'unanswered'],
    ['FAILED', 'refused'],
    ['FAILED', 'overdue'],
    ['SUBMITTED', 'inspected'],
    ['PROCESSING', 'inspected'],
    ['SUCCEEDED', 'inspected'],
    ['FAILED', 'inspected'],
  ] as const)('%s, %s: nothing', (status, kind) => {
    expect(applyReport(taskIn(status), REPORTS[kind])).toBeUndefined()
  })

  const noted = (task: UpscaleTask) => [
    ...task.history,
    expect.objectContaining({ at, status: task.status, note: 'accepted by the upscale service' }),
  ]

  test.each(['REFUSAL', 'SILENCE'] as const)(
    'FAILED by %s and only then accepted: it may yet succeed, and is asked about from now on',
    (failedBy) => {
      const task = taskIn('FAILED', { upstreamTaskId: null, failedBy })
      const dueAt = NOW + 30_000
      const facts = { upstreamTaskId: 'up-1', failedBy: 'SILENCE', dueAt } as const
      const next = { ...task, ...facts, revision: 6, history: noted(task) }
      expect(applyReport(task, REPORTS.accepted)).toEqual(next)
    },
  )

  test('the answer to the submit after its own callback changes nothing: the callback has named the id', () => {
    const overtaken = applyReport(taskIn('SUBMITTED'), REPORTS.succeeded)
    expect(overtaken).toBeDefined()
    expect(overtaken && applyReport(overtaken, REPORTS.accepted)).toBeUndefined()
  })

  test.each([
    ['PROCESSING', null, null],
    ['FAILED', 'UPSTREAM', 'SILENCE'],
  ] as const)(
    '%s by a callback about another upstream task: the answer to the submit knows better, and it is looked at',
    (status, before, after) => {
      const task = taskIn(status, { upstreamTaskId: 'up-0', failedBy: before })
      const known = { ...task, upstreamTaskId: 'up-1', failedBy: after }
      expect(applyReport(task, REPORTS.accepted)).toEqual({
        ...known,
        revision: 6,
        dueAt: NOW + 30_000,
        history: noted(task),
      })
      expect(applyReport(task, { ...REPORTS.accepted, source: 'CALLBACK' })).toBeUndefined()
    },
  )

  test.each([
    ['PROCESSING', 'succeeded'],
    ['PROCESSING', 'failed'],
    ['FAILED', 'succeeded'],
    ['SUCCEEDED', 'accepted'],
  ] as const)('%s, %s under another upstream id: nothing', (status, kind) => {
    expect(applyReport(taskIn(status, { upstreamTaskId: 'up-0' }), REPORTS[kind])).toBeUndefined()
  })
})

describe('in every cell of the table', () => {
  test.each(CELLS)('%s, %s: the version grows by one exactly when a client can see news', (status, kind) => {
    for (const upstreamTaskId of ['up-1', null]) {
      const task = taskIn(status, { upstreamTaskId })
      const next = applyReport(task, REPORTS[kind]) ?? task
      const shown = ({ status, images, failure }: UpscaleTask) => ({ status, images, failure })
      const changed = JSON.stringify(shown(next)) !== JSON.stringify(shown(task))
      expect(next.version).toBe(changed ? task.version + 1 : task.version)
    }
  })

  test.each(CELLS)('%s, %s: status, images, failure and settledAt agree', (status, kind) => {
    const next = applyReport(taskIn(status), REPORTS[kind]) ?? taskIn(status)
    expect(next.images === null).toBe(next.status !== 'SUCCEEDED')
    expect(next.failure === null).toBe(next.status !== 'FAILED')
    expect(next.settledAt === null).toBe(next.status === 'SUBMITTED' || next.status === 'PROCESSING')
  })

  test.each(CELLS)('%s, %s: the same report a second time changes nothing', (status, kind) => {
    const next = applyReport(taskIn(status), REPORTS[kind])
    expect(next && applyReport(next, REPORTS[kind])).toBeUndefined()
  })

  test.each(CELLS)('%s, %s: the history grows by what happened, and forgets nothing', (status, kind) => {
    const task = taskIn(status)
    const next = applyReport(task, REPORTS[kind])
    const news = {
      at: NOW,
      status: next?.status,
      source: REPORTS[kind].source,
      upstreamCode: kind === 'failed' ? 500 : (next?.failure?.upstreamCode ?? null),
      note: expect.stringMatching(/./),
    }
    expect(next?.history ?? task.history).toEqual(next ? [...task.history, news] : task.history)
  })

  test.each(CELLS)('%s, %s: no answer to the submit is waited for afterwards', (status, kind) => {
    const next = applyReport(taskIn(status), REPORTS[kind])
    // An inspection says nothing about a task that has no result, and the queue nothing about one that left
    // it.
    const others: readonly string[] = ['inspected', 'sending', 'deferred', 'moved', 'withdrawn']
    if (next === undefined) expect(others.includes(kind) || status !== 'SUBMITTED').toBe(true)
    else expect(next.answerBy).toBeNull()
  })

  test.each(CELLS)('%s, %s: who it belongs to and what was asked for stay', (status, kind) => {
    const task = taskIn(status)
    const next = applyReport(task, REPORTS[kind]) ?? task
    const { id, owner, sourceTaskId, imageIndex, waterMark, callbackTokenHash, createdAt, deadlineAt } = task
    const lasting = {
      id,
      owner,
      sourceTaskId,
      imageIndex,
      waterMark,
      callbackTokenHash,
      createdAt,
      deadlineAt,
    }
    expect(next).toMatchObject(lasting)
  })

  test.each(CELLS)('%s, %s: the task and the report given are left as they were', (status, kind) => {
    // Both are frozen to the ground: a write would throw.
    const task = taskIn(status)
    const before = JSON.stringify([task, REPORTS[kind]])
    applyReport(task, REPORTS[kind])
    expect(JSON.stringify([task, REPORTS[kind]])).toBe(before)
    expect(applyReport(task, REPORTS[kind])).toEqual(applyReport(task, REPORTS[kind]))
  })
})

describe('the next look at the upstream', () => {
  const HOUR = 3_600_000
  const accepted = (at: number, pollAt: number): Report => ({
    kind: 'accepted',
    at,
    source: 'SUBMIT',
    upstreamTaskId: 'up-1',
    pollAt,
  })

  test('is taken, once it is accepted, when it is asked for', () => {
    expect(applyReport(taskIn('SUBMITTED'), accepted(NOW, NOW + 30_000))?.dueAt).toBe(NOW + 30_000)
    expect(applyReport(taskIn('SUBMITTED'), accepted(NOW, NOW))?.dueAt).toBe(NOW)
  })

  test('is taken at the deadline, when it is asked for later than that', () => {
    expect(applyReport(taskIn('SUBMITTED'), accepted(NOW, DEADLINE + 1))?.dueAt).toBe(DEADLINE)
  })

  test.each(['refused', 'failed', 'succeeded'] as const)('is not taken after %s', (kind) => {
    expect(applyReport(taskIn('SUBMITTED'), REPORTS[kind])).toMatchObject({ dueAt: null })
  })

  test('is taken an hour after the deadline: a late success is not thrown away', () => {
    const overdue: Report = { ...REPORTS.overdue, at: DEADLINE }
    expect(applyReport(taskIn('PROCESSING'), overdue)).toMatchObject({ dueAt: DEADLINE + HOUR })
  })

  test('is not taken at what the upstream has never named', () => {
    expect(applyReport(taskIn('SUBMITTED'), REPORTS.overdue)).toMatchObject({ dueAt: null })
  })

  test('is taken hourly for a day after the deadline, and then no more', () => {
    const overdue = applyReport(taskIn('PROCESSING'), { ...REPORTS.overdue, at: DEADLINE })
    let looks = 0
    for (let due = overdue?.dueAt ?? null; overdue && due !== null && looks < 100; looks += 1)
      due = toDueAt(overdue, due + HOUR)
    expect(looks).toBe(24)
  })
})

describe('that nothing was charged', () => {
  const FREE: readonly string[] = [
    'UPSTREAM_RATE_LIMITED',
    'UPSTREAM_MAINTENANCE',
    'UPSTREAM_SERVER_ERROR',
    'GENERATION_FAILED',
    'UPSTREAM_TIMEOUT',
    'KEY_QUOTA_EXCEEDED',
    'UPSTREAM_UNREACHABLE',
    'NOT_SENT',
    'CANCELLED',
    'RATE_LIMITED',
  ]

  test.each(UPSCALE_ERROR_CODES)('is known of a refusal, by its code alone: %s', (code) => {
    const failure = { ...toFailure(code), correlationId: 'correlation-1' }
    const next = applyReport(taskIn('SUBMITTED'), {
      kind: 'refused',
      at,
      source: 'SUBMIT',
      failure,
      note: 'refused',
    })
    expect(next && isUncharged(next)).toBe(FREE.includes(code))
  })

  test.each(UPSCALE_ERROR_CODES)('is not known of any failure after acceptance: %s', (code) => {
    const failure = { ...toFailure(code), correlationId: 'correlation-1' }
    const facts = { at, source: 'POLL', upstreamTaskId: 'up-1', note: 'failed' } as const
    const report: Report = { ...facts, kind: 'failed', failure, failedBy: 'UPSTREAM' }
    for (const status of ['SUBMITTED', 'PROCESSING'] as const) {
      const next = applyReport(taskIn(status), report)
      expect(next && isUncharged(next)).toBe(false)
    }
  })

  test.each([
    ['SUBMITTED', 'accepted'],
    ['SUBMITTED', 'succeeded'],
    ['SUBMITTED', 'overdue'],
    ['PROCESSING', 'succeeded'],
    ['PROCESSING', 'overdue'],
    ['FAILED', 'succeeded'],
  ] as const)('is not known after %s, %s', (status, kind) => {
    const next = applyReport(taskIn(status), REPORTS[kind])
    expect(next && isUncharged(next)).toBe(false)
  })
})

test.each(['SUBMITTED', 'PROCESSING', 'FAILED'] as const)(
  'the images of a task that succeeds from %s expire with the first of them',
  (status) => {
    expect(applyReport(taskIn(status), REPORTS.succeeded)).toMatchObject({ imagesExpireAt: NOW + 86_300_000 })
  },
)

/** Freezes a value and everything in it. */
function freeze<T extends object>(value: T): T {
  for (const each of Object.values(value) as unknown[])
    if (typeof each === 'object' && each !== null) freeze(each)
  return Object.freeze(value)
}

test('a task that was sent from the queue is not ended by the deadline that it had there', () => {
  const sent = { ...taskIn('SUBMITTED'), deadlineAt: DEADLINE + 1 }
  expect(applyReport(sent, REPORTS.overdue)).toBeUndefined()
})
