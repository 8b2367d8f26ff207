import { describe, expect, test } from '@jest/globals'
import { verifySignature } from '../../src/http/signature.ts'

/** The vendor's documented example. */
const KEY = 'test-webhook-hmac-key'
const TASK = '2584469c38e43c173dcae9e60663f645'
const SIGNED_AT_S = 1_769_670_760
const HEADERS = {
  'x-webhook-timestamp': String(SIGNED_AT_S),
  'x-webhook-signature': '2VcZWCak7OAr29YZTflxNCH/XIEIQPXo3hIiM2dUOho=',
}
const NOW = SIGNED_AT_S * 1_000
const policy = { keys: [KEY], windowMs: 300_000 }

describe('a callback signature', () => {
  test("the vendor's own example is genuine", () => {
    expect(verifySignature(policy, HEADERS, TASK, NOW)).toBe('genuine')
  })

  test('any of several keys counts, so that one can be replaced', () => {
    for (const keys of [
      [KEY, 'new'],
      ['new', KEY],
    ])
      expect(verifySignature({ ...policy, keys }, HEADERS, TASK, NOW)).toBe('genuine')
  })

  test.each([
    [-300_000, 'genuine'],
    [300_000, 'genuine'],
    [-300_001, 'stale'],
    [300_001, 'stale'],
  ])('%i ms from its timestamp it is %s', (ms, verdict) => {
    expect(verifySignature(policy, HEADERS, TASK, NOW + ms)).toBe(verdict)
  })

  test.each([
    ['another key', { keys: ['other'] }, {}, TASK],
    ['no key', { keys: [] }, {}, TASK],
    ['another task', {}, {}, 'another'],
    ['another timestamp', {}, { 'x-webhook-timestamp': String(SIGNED_AT_S + 1) }, TASK],
    ['a timestamp that is no number', {}, { 'x-webhook-timestamp': `${SIGNED_AT_S}.0` }, TASK],
    ['no timestamp', {}, { 'x-webhook-timestamp': undefined }, TASK],
    ['no signature', {}, { 'x-webhook-signature': undefined }, TASK],
    ['an empty signature', {}, { 'x-webhook-signature': '' }, TASK],
    ['half a signature', {}, { 'x-webhook-signature': HEADERS['x-webhook-signature'].slice(0, 20) }, TASK],
  ])('with %s it is forged', (_name, changedPolicy, changedHeaders, task) => {
    const headers = { ...HEADERS, ...changedHeaders }
    expect(verifySignature({ ...policy, ...changedPolicy }, headers, task, NOW)).toBe('forged')
  })
})
