import { describe, expect, test } from '@jest/globals'
import {
  CATALOGUE,
  toFailure,
  toUpstreamFailure,
  UPSCALE_ERROR_CODES,
  type UpscaleErrorCode,
} from '../../src/tasks/failure.ts'

/** The vendor's numbers: number, code, retryable, wait in milliseconds. */
const NUMBERED = [
  [400, 'UPSTREAM_BAD_REQUEST', false, null],
  [401, 'UPSTREAM_UNAUTHORIZED', false, null],
  [402, 'INSUFFICIENT_CREDITS', false, null],
  [404, 'UPSTREAM_NOT_FOUND', false, null],
  [408, 'UPSTREAM_TIMEOUT', true, 0],
  [433, 'KEY_QUOTA_EXCEEDED', false, null],
  [422, 'UPSTREAM_VALIDATION_FAILED', false, null],
  [429, 'UPSTREAM_RATE_LIMITED', true, 10_000],
  [455, 'UPSTREAM_MAINTENANCE', true, 60_000],
  [500, 'UPSTREAM_SERVER_ERROR', true, 5_000],
  [501, 'GENERATION_FAILED', true, 0],
  [505, 'FEATURE_DISABLED', false, null],
] as const

/** What the gateway concludes from what did or did not happen: no number of the vendor belongs to it. */
const CONCLUDED = [
  [null, 'UPSTREAM_PROTOCOL_ERROR', false, null],
  [null, 'UPSTREAM_UNREACHABLE', true, 5_000],
  [null, 'UPSTREAM_OUTCOME_UNKNOWN', false, null],
  [null, 'NOT_SENT', true, 5_000],
  [null, 'SETTLEMENT_TIMEOUT', false, null],
] as const

const TABLE = [...NUMBERED, ...CONCLUDED]

describe('the error catalogue', () => {
  test.each(TABLE)(
    'has for %p the code %s with retryable %p and the wait %p',
    (number, code, retryable, wait) => {
      expect(CATALOGUE[code]).toMatchObject({ upstreamCode: number, retryable, retryAfterMs: wait })
    },
  )

  test('holds the codes of the vendor’s table, three of our own, and no other', () => {
    const codes = [...TABLE.map(([, code]) => code), 'CANCELLED', 'IDEMPOTENCY_KEY_REUSED', 'RATE_LIMITED']
    expect([...UPSCALE_ERROR_CODES].sort()).toEqual(codes.sort())
    expect(Object.keys(CATALOGUE).sort()).toEqual(codes)
  })

  test('says that a key which was used otherwise stays so, however long one waits', () => {
    expect(CATALOGUE.IDEMPOTENCY_KEY_REUSED).toMatchObject({
      upstreamCode: null,
      retryable: false,
      retryAfterMs: null,
    })
  })

  test('says that an owner who was too fast may try again after a while', () => {
    expect(CATALOGUE.RATE_LIMITED).toMatchObject({ upstreamCode: null, retryable: true })
    expect(CATALOGUE.RATE_LIMITED.retryAfterMs).toBeGreaterThan(0)
  })

  test.each(UPSCALE_ERROR_CODES)('tells people in a sentence of its own what %s means', (code) => {
    const { description } = CATALOGUE[code]
    expect(description).toMatch(/^[A-Z].{20,}\.$/)
    const same = UPSCALE_ERROR_CODES.filter((other) => CATALOGUE[other].description === description)
    expect(same).toEqual([code])
  })
})

describe('a number from the vendor', () => {
  test.each(NUMBERED)('%i is %s', (number, code, _retryable, retryAfterMs) => {
    expect(toUpstreamFailure(number)).toEqual({ code, upstreamCode: number, retryAfterMs })
  })

  test.each([-1, 0, 1, 199, 200, 201, 403, 405, 418, 454, 456, 499, 502, 503, 504, 506, 550, 99_999])(
    '%i, which is not in the table, is a protocol error that keeps it',
    (number) => {
      expect(toUpstreamFailure(number)).toEqual({
        code: 'UPSTREAM_PROTOCOL_ERROR',
        upstreamCode: number,
        retryAfterMs: null,
      })
    },
  )
})

describe('a failure that the gateway concludes', () => {
  test.each<[UpscaleErrorCode, number | null]>([
    ['UPSTREAM_UNREACHABLE', 5_000],
    ['UPSTREAM_OUTCOME_UNKNOWN', null],
    ['SETTLEMENT_TIMEOUT', null],
    ['GENERATION_FAILED', 0],
  ])('%s has no number and the wait of the catalogue', (code, retryAfterMs) => {
    expect(toFailure(code)).toEqual({ code, upstreamCode: null, retryAfterMs })
  })

  test('keeps the number it is given', () => {
    expect(toFailure('UPSTREAM_PROTOCOL_ERROR', 502)).toMatchObject({ upstreamCode: 502 })
  })
})
