import { expect, test } from '@jest/globals'
import { parseRetryAfter } from '../../src/net/retry-after.ts'

const NOW = Date.UTC(2026, 10, 28, 12, 0, 0)

test.each([
  ['120', 120_000],
  ['Sat, 28 Nov 2026 12:00:30 GMT', 30_000],
  // RFC 9110 §5.6.7: a leap second.
  ['Sat, 28 Nov 2026 12:00:60 GMT', 60_000],
  ['Saturday, 28-Nov-26 12:01:00 GMT', 60_000],
  ['Sat Nov 28 12:01:00 2026', 60_000],
  // Two digits are a year at most 50 years ahead.
  ['Friday, 01-Jan-60 00:00:00 GMT', 2_147_483_647],
  ['Friday, 01-Jan-99 00:00:00 GMT', 0],
  ['Sat, 28 Nov 2026 11:00:00 GMT', 0],
  ['soon', null],
  ['', null],
  [undefined, null],
])('Retry-After: %s is a wait of %s ms', (header, expected) => {
  expect(parseRetryAfter(header, NOW)).toBe(expected)
})
