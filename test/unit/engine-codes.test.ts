import { describe, expect, test } from '@jest/globals'
import { CATALOGUE, type UpscaleErrorCode } from '../../src/tasks/failure.ts'
import type { DialectCode } from '../../src/upstream/dialect.ts'
import { ADAPTERS } from '../../src/upstream/adapters.ts'
import type { Dialect } from '../../src/upstream/dialect.ts'

type Row = readonly [upstreamCode: number, code: UpscaleErrorCode, retryAfterMs: number | null]

const KIE_ROWS: readonly Row[] = [
  [400, 'UPSTREAM_BAD_REQUEST', null],
  [401, 'UPSTREAM_UNAUTHORIZED', null],
  [402, 'INSUFFICIENT_CREDITS', null],
  [404, 'UPSTREAM_NOT_FOUND', null],
  [408, 'UPSTREAM_TIMEOUT', 0],
  [422, 'UPSTREAM_VALIDATION_FAILED', null],
  [429, 'UPSTREAM_RATE_LIMITED', 10_000],
  [433, 'KEY_QUOTA_EXCEEDED', null],
  [455, 'UPSTREAM_MAINTENANCE', 60_000],
  [500, 'UPSTREAM_SERVER_ERROR', 5_000],
  [501, 'GENERATION_FAILED', 0],
  [505, 'FEATURE_DISABLED', null],
]
const UNLISTED = [-1, 1, 201, 403, 418, 454, 502, 503, 599, 1_001]

interface Codes {
  readonly dialect: Dialect
  readonly rows: readonly Row[]
  /** Codes outside the table. */
  readonly unlisted: readonly number[]
  /** The codes of the table that are no failures. */
  readonly accepted: readonly number[]
  readonly toSubmitBody: (code: number) => object
  /** Absent: a task that fails has no code. */
  readonly toRecord?: (code: number) => object
  readonly toCallback?: (code: number) => object
}

const none = { model: null, factor: null }
const TABLES: Record<keyof typeof ADAPTERS, Codes> = {
  'kie-midjourney': {
    dialect: ADAPTERS['kie-midjourney'].createDialect(none),
    rows: KIE_ROWS,
    unlisted: [0, ...UNLISTED],
    accepted: [],
    toSubmitBody: (code) => ({ code, msg: 'no', data: null }),
    toRecord: (errorCode) => ({ code: 200, data: { taskId: 'a', successFlag: 2, errorCode } }),
    toCallback: (code) => ({ code, msg: 'no', data: { taskId: 'a', resultUrls: [] } }),
  },
  'kie-jobs': {
    dialect: ADAPTERS['kie-jobs'].createDialect(none),
    rows: KIE_ROWS,
    unlisted: [0, ...UNLISTED],
    accepted: [],
    toSubmitBody: (code) => ({ code, msg: 'no', data: null }),
    toRecord: (code) => ({ code: 200, data: { taskId: 'a', state: 'fail', failCode: String(code) } }),
    toCallback: (failCode) => ({ code: 501, msg: 'no', data: { taskId: 'a', state: 'fail', failCode } }),
  },
  'midjourney-proxy': {
    dialect: ADAPTERS['midjourney-proxy'].createDialect(none),
    rows: [
      [3, 'UPSTREAM_NOT_FOUND', null],
      [4, 'UPSTREAM_VALIDATION_FAILED', null],
      [9, 'UPSTREAM_PROTOCOL_ERROR', null],
      [23, 'UPSTREAM_RATE_LIMITED', 10_000],
      [24, 'UPSTREAM_VALIDATION_FAILED', null],
    ],
    unlisted: [0, 2, 5, 25, ...UNLISTED.filter((code) => code !== 1)],
    accepted: [1, 21, 22],
    // An id is no evidence of acceptance: a full queue answers with the id of a task that it has dropped.
    toSubmitBody: (code) => ({ code, description: 'no', result: 'dropped', properties: {} }),
  },
  legnext: {
    dialect: ADAPTERS.legnext.createDialect(none),
    rows: [
      [400, 'UPSTREAM_BAD_REQUEST', null],
      [401, 'UPSTREAM_UNAUTHORIZED', null],
      [402, 'INSUFFICIENT_CREDITS', null],
      [403, 'UPSTREAM_VALIDATION_FAILED', null],
      [404, 'UPSTREAM_NOT_FOUND', null],
      [413, 'UPSTREAM_BAD_REQUEST', null],
      [422, 'UPSTREAM_VALIDATION_FAILED', null],
      [429, 'UPSTREAM_RATE_LIMITED', 10_000],
      [500, 'UPSTREAM_SERVER_ERROR', 5_000],
    ],
    unlisted: [...UNLISTED.filter((code) => code !== 403), 408, 501],
    accepted: [],
    toSubmitBody: (code) => ({ code, message: 'no', raw_message: 'no', detail: null }),
    toRecord: (code) => ({ job_id: 'a', status: 'failed', error: { code, message: 'no' } }),
    toCallback: (code) => ({ job_id: 'a', status: 'failed', error: { code, message: 'no' } }),
  },
}

/** Whether a code proves nothing at submit. */
const isLater = (upstreamCode: number) => (listed: DialectCode) =>
  listed.upstreamCode === upstreamCode && !listed.at.includes('submit')

describe.each(Object.entries(TABLES))('the codes of %s', (_name, table) => {
  const { dialect, rows, unlisted, accepted, toSubmitBody, toRecord, toCallback } = table
  const unknown = unlisted.map((code): Row => [code, 'UPSTREAM_PROTOCOL_ERROR', null])

  test('are all in this test', () => {
    const listed = dialect.codes.map(({ upstreamCode }) => upstreamCode)
    const tested = [...accepted, ...rows.map(([upstreamCode]) => upstreamCode)]
    expect(listed.toSorted((a, b) => a - b)).toEqual(tested.toSorted((a, b) => a - b))
    expect(listed.filter((code) => unlisted.includes(code))).toEqual([])
  })

  const refusals = [...rows, ...unknown].filter(([code]) => !dialect.codes.some(isLater(code)))
  test.each(refusals)('%i is %s at submit', (upstreamCode, code, retryAfterMs) => {
    const answer = { status: 200, body: toSubmitBody(upstreamCode), retryAfterMs: null }
    const note = `refused by the upscale service with code ${upstreamCode}`
    expect(dialect.parseSubmit(answer)).toEqual({
      kind: 'refused',
      failure: { code, upstreamCode, retryAfterMs },
      note,
    })
    // Waiting is offered exactly if a retry is not charged twice.
    expect(CATALOGUE[code].retryable).toBe(retryAfterMs !== null)
    const waits = retryAfterMs === null ? null : 7_000
    expect(dialect.parseSubmit({ ...answer, retryAfterMs: 7_000 })).toMatchObject({
      failure: { retryAfterMs: waits },
    })
  })

  if (toRecord)
    test.each([...rows, ...unknown])('%i is %s of an accepted task', (upstreamCode, code, retryAfterMs) => {
      const failed = { kind: 'failed', failure: { code, upstreamCode, retryAfterMs } }
      const polled = dialect.parsePoll({ status: 200, body: toRecord(upstreamCode), retryAfterMs: null })
      expect(polled).toEqual({ ...failed, recorded: true })
    })

  if (toCallback)
    test.each([...rows, ...unknown])('%i is %s in a callback', (upstreamCode, code, retryAfterMs) => {
      const failed = { kind: 'failed', failure: { code, upstreamCode, retryAfterMs } }
      expect(dialect.parseCallback(toCallback(upstreamCode))).toEqual({
        upstreamTaskId: 'a',
        outcome: failed,
      })
    })
})
