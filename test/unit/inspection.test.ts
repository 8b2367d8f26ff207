import { describe, expect, test } from '@jest/globals'
import type { Report } from '../../src/tasks/report.ts'
import { applyReport } from '../../src/tasks/transitions.ts'
import type { PictureFacts, UpscaledImage, UpscaleTask } from '../../src/tasks/task.ts'
import { newTask } from '../support/new-task.ts'

const NOW = 60_000
const BY = NOW + 5_000
const EXPIRY = NOW + 86_400_000
const FACTS: PictureFacts = {
  width: 1024,
  height: 512,
  byteSize: 9,
  contentType: 'image/png',
  sha256: 'ab',
  thumbhash: 'cd',
  provenance: 'NONE',
}
const IMAGE: UpscaledImage = {
  url: 'https://example.com/a.png',
  expiresAt: EXPIRY,
  facts: null,
  copyState: 'PENDING',
}

const found = (changes: Partial<Extract<Report, { kind: 'succeeded' }>> = {}): Report => ({
  kind: 'succeeded',
  at: NOW,
  source: 'CALLBACK',
  upstreamTaskId: 'up-1',
  images: [IMAGE],
  inspectBy: BY,
  ...changes,
})
const inspected = (
  image: Partial<Pick<UpscaledImage, 'facts' | 'copyState'>> | null,
  retryAt: number | null = NOW + 9_000,
): Report => ({
  kind: 'inspected',
  at: NOW + 1_000,
  source: 'INSPECTION',
  images: image === null ? [] : [{ position: 0, facts: FACTS, copyState: 'KEPT', ...image }],
  retryAt,
  note: 'inspected',
})

/** The state after these reports, each of which must change the task. */
function after(task: UpscaleTask, ...reports: Report[]): UpscaleTask {
  return reports.reduce((state, report) => {
    const next = applyReport(state, report)
    if (next === undefined) throw new Error(`${report.kind} changed nothing`)
    return next
  }, task)
}

const running = newTask({ status: 'PROCESSING', upstreamTaskId: 'up-1', version: 2, dueAt: NOW })
const waiting = after(running, found())

describe('a result that is to be inspected', () => {
  test('leaves the task PROCESSING under the same version, with its inspection due at once and settled in time', () => {
    expect(waiting).toMatchObject({
      status: 'PROCESSING',
      version: 2,
      revision: running.revision + 1,
      settledAt: null,
      images: [IMAGE],
      resultDueAt: NOW,
      dueAt: BY,
    })
    expect(waiting.history.at(-1)).toMatchObject({ status: 'PROCESSING', source: 'CALLBACK' })
  })

  test('proves that a SUBMITTED task was accepted', () => {
    const task = after(newTask(), found())
    expect(task).toMatchObject({ status: 'PROCESSING', version: 2, upstreamTaskId: 'up-1', answerBy: null })
  })

  test.each<[string, Report]>([
    ['a second callback', found({ images: [{ ...IMAGE, url: 'https://example.com/b.png' }] })],
    [
      'a failure',
      {
        kind: 'failed',
        at: NOW,
        source: 'POLL',
        upstreamTaskId: 'up-1',
        failure: { code: 'GENERATION_FAILED', upstreamCode: 501, retryAfterMs: 0, correlationId: 'c' },
        failedBy: 'UPSTREAM',
        note: 'failed',
      },
    ],
    ['the deadline', { kind: 'overdue', at: NOW, source: 'DEADLINE', deadlineAt: waiting.deadlineAt }],
    [
      'an answer to the submit that names another task',
      { kind: 'accepted', at: NOW, source: 'SUBMIT', upstreamTaskId: 'up-2', pollAt: NOW },
    ],
  ])('is not changed by %s', (_name, report) => {
    expect(applyReport(waiting, report)).toBeUndefined()
  })

  test('settles with facts and copy, and does not expire', () => {
    expect(after(waiting, inspected({}))).toMatchObject({
      status: 'SUCCEEDED',
      version: 3,
      settledAt: NOW + 1_000,
      images: [{ ...IMAGE, facts: FACTS, copyState: 'KEPT' }],
      imagesExpireAt: null,
      resultDueAt: null,
      dueAt: null,
    })
  })

  test('settles without facts at its deadline, and the attempt continues', () => {
    const settled = after(waiting, inspected(null, null))
    expect(settled).toMatchObject({
      status: 'SUCCEEDED',
      version: 3,
      images: [IMAGE],
      imagesExpireAt: EXPIRY,
      resultDueAt: NOW,
      resultAttempts: 0,
    })
    const kept = after(settled, inspected({}))
    expect(kept).toMatchObject({
      version: 4,
      images: [{ facts: FACTS, copyState: 'KEPT' }],
      resultAttempts: 1,
    })
    expect(kept.settledAt).toBe(settled.settledAt)
    expect(applyReport(settled, inspected(null, null))).toBeUndefined()
  })

  test('a failed attempt settles the task, and is repeated without a new version until a copy is kept', () => {
    const failed = inspected({ facts: null, copyState: 'PENDING' })
    const settled = after(waiting, failed)
    expect(settled).toMatchObject({
      status: 'SUCCEEDED',
      version: 3,
      resultDueAt: NOW + 9_000,
      resultAttempts: 1,
    })
    const again = after(settled, failed)
    expect(again).toMatchObject({ version: 3, revision: settled.revision + 1, resultAttempts: 2 })
    expect(again.history).toEqual(settled.history)
    expect(after(again, inspected({}))).toMatchObject({ version: 4, imagesExpireAt: null, resultDueAt: null })
  })

  test('a lost copy ends the attempts, and the image expires as before', () => {
    const lost = after(waiting, inspected({ facts: null, copyState: 'LOST' }))
    expect(lost).toMatchObject({ status: 'SUCCEEDED', imagesExpireAt: EXPIRY, resultDueAt: null })
    expect(applyReport(lost, inspected({}))).toBeUndefined()
  })

  test('a late report of an attempt that has lost its lease does not change KEPT', () => {
    const second = { ...IMAGE, url: 'https://example.com/b.png' }
    const task = after(after(running, found({ images: [IMAGE, second] })), inspected({}))
    const late = applyReport(task, inspected({ facts: null, copyState: 'LOST' }))
    expect(late?.images?.[0]).toEqual({ ...IMAGE, facts: FACTS, copyState: 'KEPT' })
  })

  test('facts once measured are not lost by a later attempt that fails', () => {
    const measured = after(waiting, inspected({ copyState: 'PENDING' }))
    const failed = after(measured, inspected({ facts: null, copyState: 'PENDING' }))
    expect(failed.images).toEqual([{ ...IMAGE, facts: FACTS }])
  })
})

describe('a late result of a failed task', () => {
  const failed = newTask({
    status: 'FAILED',
    failedBy: 'SILENCE',
    upstreamTaskId: 'up-1',
    settledAt: 1,
    version: 3,
  })

  test('is not shown before its inspection, which then makes it succeed after all', () => {
    const late = after(failed, found())
    expect(late).toMatchObject({ status: 'FAILED', version: 3, dueAt: BY, resultDueAt: NOW })
    const succeeded = after(late, inspected({}))
    expect(succeeded).toMatchObject({ status: 'SUCCEEDED', version: 4, failedBy: null, failure: null })
    expect(succeeded.history.at(-1)?.note).toBe('done after all: inspected')
  })
})

describe('without an inspection', () => {
  test('a result settles the task at once, and a copy is made afterwards if copies are kept', () => {
    expect(after(running, found({ inspectBy: null }))).toMatchObject({
      status: 'SUCCEEDED',
      resultDueAt: NOW,
      dueAt: null,
    })
    const off = found({ inspectBy: null, images: [{ ...IMAGE, copyState: 'OFF' }] })
    expect(after(running, off)).toMatchObject({ status: 'SUCCEEDED', resultDueAt: null })
  })
})
