import { execFileSync } from 'node:child_process'
import { describe, expect, test } from '@jest/globals'
import { parseJson } from '../../src/upstream/json.ts'
import { parseSubmitAnswer } from '../../src/upstream/kie-midjourney/submit-answer.ts'
import { parseCallback, parsePollAnswer } from '../../src/upstream/kie-midjourney/wire.ts'
import { parseRetryAfter } from '../../src/net/retry-after.ts'
import { createRandom } from '../support/random.ts'

/** The vendor's numbers: code of ours, wait in milliseconds. */
const CODES = [
  [400, 'UPSTREAM_BAD_REQUEST', null],
  [401, 'UPSTREAM_UNAUTHORIZED', null],
  [402, 'INSUFFICIENT_CREDITS', null],
  [404, 'UPSTREAM_NOT_FOUND', null],
  [408, 'UPSTREAM_TIMEOUT', 0],
  [433, 'KEY_QUOTA_EXCEEDED', null],
  [422, 'UPSTREAM_VALIDATION_FAILED', null],
  [429, 'UPSTREAM_RATE_LIMITED', 10_000],
  [455, 'UPSTREAM_MAINTENANCE', 60_000],
  [500, 'UPSTREAM_SERVER_ERROR', 5_000],
  [501, 'GENERATION_FAILED', 0],
  [505, 'FEATURE_DISABLED', null],
] as const

/** Integers that the vendor's table does not have, some of them close to one that it has. */
const UNKNOWN_CODES = [-1, 0, 1, 201, 204, 403, 418, 454, 456, 502, 503, 504, 599, 1_001]

/** Bodies that are not the envelope. Undefined is a body that is not JSON: an HTML page, or nothing. */
const NOT_ENVELOPES: [string, unknown][] = [
  ['HTML or empty', undefined],
  ['null', null],
  ['an empty text', ''],
  ['a text', 'code 200'],
  ['a number', 200],
  ['true', true],
  ['an empty array', []],
  ['an array around an envelope', [{ code: 200, data: { taskId: 'new-1' } }]],
  ['an empty object', {}],
  ['without a code', { msg: 'success', data: { taskId: 'new-1' } }],
  ['with code null', { code: null, data: { taskId: 'new-1' } }],
  ['with code true', { code: true, data: { taskId: 'new-1' } }],
  ['with a fraction as code', { code: 200.5, data: { taskId: 'new-1' } }],
  ['with a word as code', { code: 'OK', data: { taskId: 'new-1' } }],
  ['with an empty text as code', { code: '', data: { taskId: 'new-1' } }],
  ['with a code in a list', { code: [200], data: { taskId: 'new-1' } }],
  ['with a message under `message`', { message: 'no such route' }],
  ['with a message under `error`', { error: 'Forbidden' }],
  ['with a message under `error.message`', { error: { message: 'Forbidden', code: 403 } }],
]

const MAX_INT = 2 ** 31 - 1
const BEYOND_INT = [2 ** 31, 3_000_000_000, -(2 ** 31) - 1, Number.MAX_SAFE_INTEGER, '3000000000']

/** What random JSON is made of. */
const KEYS = [
  ...['code', 'msg', 'data', 'taskId', 'task_id', 'resultUrls', 'result_urls', 'resultUrl', 'info'],
  ...['successFlag', 'errorCode', 'resultInfoJson', '__proto__', 'constructor', 'toString', 'length', ''],
]
const SCALARS = [
  ...[null, true, false, 0, 1, 2, 3, -1, 1.5, 200, 422, 500, 1e308, -0],
  ...[
    '',
    '200',
    '1',
    'https://cdn.example/a.png',
    'http://[',
    'ftp://x.example/',
    '{',
    '[]',
    '\u0000',
    '\ud800',
  ],
]

const protocolError = (upstreamCode: number) => ({
  kind: 'refused',
  failure: { code: 'UPSTREAM_PROTOCOL_ERROR', upstreamCode, retryAfterMs: null },
  note: `refused by the upscale service with code ${upstreamCode}`,
})

/**
 * HTTP statuses that prove, without an envelope, that the origin did not run the request: code of ours, wait.
 */
const NOT_RUN = [
  [401, 'UPSTREAM_UNAUTHORIZED', null],
  [402, 'INSUFFICIENT_CREDITS', null],
  [403, 'UPSTREAM_PROTOCOL_ERROR', null],
  [404, 'UPSTREAM_NOT_FOUND', null],
  [405, 'UPSTREAM_PROTOCOL_ERROR', null],
  [407, 'UPSTREAM_UNREACHABLE', 5_000],
  [511, 'UPSTREAM_UNREACHABLE', 5_000],
  [413, 'UPSTREAM_PROTOCOL_ERROR', null],
  [415, 'UPSTREAM_PROTOCOL_ERROR', null],
  [429, 'UPSTREAM_RATE_LIMITED', 10_000],
  [503, 'UPSTREAM_MAINTENANCE', 60_000],
  [521, 'UPSTREAM_UNREACHABLE', 5_000],
  [522, 'UPSTREAM_UNREACHABLE', 5_000],
  [523, 'UPSTREAM_UNREACHABLE', 5_000],
  [525, 'UPSTREAM_UNREACHABLE', 5_000],
  [530, 'UPSTREAM_UNREACHABLE', 5_000],
] as const

/** HTTP statuses that prove nothing without an envelope. */
const UNPROVEN = [
  200, 201, 204, 301, 302, 400, 408, 409, 422, 499, 500, 501, 502, 504, 505, 520, 524, 527, 599,
]

describe('the answer to a create request', () => {
  test.each([
    ['HTTP 200', 200, { code: 200, msg: 'success', data: { taskId: 'new-1' } }],
    ['HTTP 201', 201, { code: 200, msg: 'success', data: { taskId: 'new-1' } }],
    ['a numeric string as code', 200, { code: '200', data: { taskId: 'new-1' } }],
    ['fields nobody knows', 200, { code: 200, extra: 1, data: { taskId: 'new-1', queue: { place: 3 } } }],
  ])('with code 200 and an id is acceptance: %s', (_name, status, body) => {
    expect(parseSubmitAnswer(status, body, null)).toEqual({ kind: 'accepted', upstreamTaskId: 'new-1' })
  })

  describe.each(CODES)('with code %i is %s', (number, code, retryAfterMs) => {
    const note = `refused by the upscale service with code ${number}`
    const refused = { kind: 'refused', failure: { code, upstreamCode: number, retryAfterMs }, note }

    test.each([
      ['in an HTTP 200', 200, { code: number, msg: 'no', data: null }],
      ['under the same HTTP status', number, { code: number, msg: 'no', data: null }],
      ['under another HTTP status, which does not count', 503, { code: number, msg: 'no', data: null }],
      ['as a numeric string', 200, { code: String(number), msg: 'no', data: null }],
      ['without data', 200, { code: number, msg: 'no' }],
      ['with the message under `message`', 200, { code: number, message: 'no', data: {} }],
      ['with the message under `error`', 200, { code: number, error: { message: 'no' } }],
      ['with an id that nobody may trust', 200, { code: number, data: { taskId: 'new-1' } }],
    ])('%s', (_name, status, body) => {
      expect(parseSubmitAnswer(status, body, null)).toEqual(refused)
    })
  })

  test.each([
    ['data is null', { code: 200, msg: 'success', data: null }],
    ['data is missing', { code: 200, msg: 'success' }],
    ['data is empty', { code: 200, data: {} }],
    ['data is a list', { code: 200, data: [{ taskId: 'new-1' }] }],
    ['data is a text', { code: 200, data: 'new-1' }],
    ['the id is empty', { code: 200, data: { taskId: '' } }],
    ['the id is blank', { code: 200, data: { taskId: ' \u3000' } }],
    ['the id is invisible', { code: 200, data: { taskId: '\u200b' } }],
    ['the id holds a NUL', { code: 200, data: { taskId: 'up\u0000' } }],
    ['the id holds half a character', { code: 200, data: { taskId: 'up\ud800' } }],
    ['the id is null', { code: 200, data: { taskId: null } }],
    ['the id is no text', { code: 200, data: { taskId: { id: 'new-1' } } }],
    ['the id stands elsewhere', { code: 200, taskId: 'new-1', data: {} }],
  ])('with code 200 and no id leaves the outcome unknown: %s', (_name, body) => {
    const note = 'not understood: HTTP 200, code 200, no task id'
    expect(parseSubmitAnswer(200, body, null)).toEqual({ kind: 'unknown', note })
  })

  describe.each(NOT_ENVELOPES)('that is not the envelope (%s)', (_name, body) => {
    test.each(UNPROVEN)('leaves the outcome unknown with HTTP %i', (status) => {
      const note = `not understood: HTTP ${status} without an envelope`
      expect(parseSubmitAnswer(status, body, null)).toEqual({ kind: 'unknown', note })
      expect(parseSubmitAnswer(status, body, 7_000)).toEqual({ kind: 'unknown', note })
    })

    test.each(NOT_RUN)('is a refusal without a charge with HTTP %i: %s', (status, code, retryAfterMs) => {
      const failure = { code, upstreamCode: status, retryAfterMs, nothingCharged: true }
      const note = `refused before the upscale service ran it: HTTP ${status} without an envelope`
      expect(parseSubmitAnswer(status, body, null)).toEqual({ kind: 'refused', failure, note })
      const waits = retryAfterMs === null ? null : 7_000
      expect(parseSubmitAnswer(status, body, 7_000)).toMatchObject({ failure: { retryAfterMs: waits } })
    })
  })

  test.each([
    ['a whole number', 4711, '4711'],
    ['the largest exact number', Number.MAX_SAFE_INTEGER, String(Number.MAX_SAFE_INTEGER)],
  ])('may name the task by %s', (_name, taskId, upstreamTaskId) => {
    const body = { code: 200, data: { taskId } }
    expect(parseSubmitAnswer(200, body, null)).toEqual({ kind: 'accepted', upstreamTaskId })
  })

  test('may name the task by a number of 20 digits', () => {
    const body = parseJson('{"code":200,"data":{"taskId":12345678901234567890}}')
    expect(parseSubmitAnswer(200, body, null)).toEqual({
      kind: 'accepted',
      upstreamTaskId: '12345678901234567890',
    })
  })

  test.each([1.5, 2 ** 53, 1e300])(
    'whose task id is the inexact number %p leaves the outcome unknown',
    (taskId) => {
      expect(parseSubmitAnswer(200, { code: 200, data: { taskId } }, null)).toMatchObject({ kind: 'unknown' })
    },
  )

  test.each(UNKNOWN_CODES)('with the unknown code %i is a protocol error that keeps the number', (code) => {
    const data = { taskId: 'new-1' }
    expect(parseSubmitAnswer(200, { code, data }, null)).toEqual(protocolError(code))
    expect(parseSubmitAnswer(200, { code: String(code), data }, null)).toEqual(protocolError(code))
  })

  test.each([302, 400, 404, 429, 500, 503])(
    'with code 200 under HTTP %i leaves the outcome unknown',
    (status) => {
      const body = { code: 200, msg: 'success', data: { taskId: 'new-1' } }
      const note = `not understood: HTTP ${status}, code 200`
      expect(parseSubmitAnswer(status, body, null)).toEqual({ kind: 'unknown', note })
    },
  )

  test.each(CODES)('with code %i (%s) takes a Retry-After only if waiting helps', (code, _name, wait) => {
    const waits = (retryAfterMs: number | null) => ({ failure: { upstreamCode: code, retryAfterMs } })
    const body = { code, data: null }
    expect(parseSubmitAnswer(429, body, 7_000)).toMatchObject(waits(wait === null ? null : 7_000))
    expect(parseSubmitAnswer(429, body, 0)).toMatchObject(waits(wait === null ? null : 0))
    expect(parseSubmitAnswer(429, body, null)).toMatchObject(waits(wait))
  })

  test.each(BEYOND_INT)(
    'with code %s, which GraphQL’s Int cannot hold, leaves the outcome unknown',
    (code) => {
      expect(parseSubmitAnswer(200, { code, data: null }, null)).toMatchObject({ kind: 'unknown' })
    },
  )
})

describe('a Retry-After header', () => {
  const now = Date.parse('2026-01-01T00:00:00Z')

  test.each([
    ['0', 0],
    ['7', 7_000],
    ['007', 7_000],
    ['120', 120_000],
    ['Thu, 01 Jan 2026 00:00:30 GMT', 30_000],
    ['Thursday, 01-Jan-26 00:01:00 GMT', 60_000],
    ['Thu Jan  1 00:01:00 2026', 60_000],
    ['Sunday, 06-Nov-94 08:49:37 GMT', 0],
    ['Thu, 01 Jan 2026 00:01:00', 60_000],
    [' 12 ', 12_000],
    ['1000000', 1_000_000_000],
    ['9999999', MAX_INT],
    ['Wed, 31 Dec 2025 23:59:00 GMT', 0],
  ])('%s asks to wait', (header, wait) => {
    expect(parseRetryAfter(header, now)).toBe(wait)
  })

  test.each([undefined, '', 'soon', 'in a minute', '10 seconds', '12s', '0x10', '1e3', 'Infinity'])(
    '%s asks for nothing',
    (header) => {
      expect(parseRetryAfter(header, now)).toBeNull()
    },
  )

  test.each(['America/New_York', 'Asia/Tokyo'])('a date is in GMT, also on a machine in %s', (TZ) => {
    const script = `import { parseRetryAfter } from './src/net/retry-after.ts'
      const dates = ['Thu Jan  1 00:01:00 2026', 'Thu, 01 Jan 2026 00:01:00', 'Thursday, 01-Jan-26 00:01:00 GMT']
      console.log(new Date(0).getTimezoneOffset() !== 0, ...dates.map((date) => parseRetryAfter(date, ${now})))`
    const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', script]
    expect(execFileSync(process.execPath, args, { env: { TZ } }).toString()).toBe('true 60000 60000 60000\n')
  })

  // JavaScript takes each of these for a date long ago, which would mean: do not wait at all.
  test.each(['-5', '1.5', 'retry 5', '12,5'])(
    '%s is neither seconds nor a date of HTTP, and asks for nothing',
    (header) => {
      expect(parseRetryAfter(header, now)).toBeNull()
    },
  )

  test.each(['999999', '99999999', '999999999999', 'Fri, 31 Dec 9999 23:59:59 GMT'])(
    '%s asks for a long wait, of no more milliseconds than GraphQL’s Int can hold',
    (header) => {
      expect(parseRetryAfter(header, now)).toBeGreaterThan(900_000_000)
      expect(parseRetryAfter(header, now)).toBeLessThanOrEqual(MAX_INT)
    },
  )
})

describe('the answer of record-info', () => {
  const URL_A = 'https://cdn.example/a.png'
  const URL_B = 'http://cdn.example/b.png?x=1'
  /** The whole record, as the vendor's page shows it. */
  const record = (facts: object) => ({
    code: 200,
    msg: 'success',
    data: {
      taskId: 'up-1',
      taskType: 'mj_upscale',
      paramJson: '{"callBackUrl":"https://gateway.example/secret"}',
      createTime: '2026-01-01T00:00:00Z',
      completeTime: null,
      resultInfoJson: null,
      successFlag: 0,
      errorCode: null,
      errorMessage: null,
      ...facts,
    },
  })
  const result = (resultInfoJson: unknown) => record({ successFlag: 1, resultInfoJson })

  test.each([
    ['0', { successFlag: 0 }],
    ['"0"', { successFlag: '0' }],
    ['4, which nobody knows', { successFlag: 4 }],
    ['-1, which nobody knows', { successFlag: -1 }],
    ['null', { successFlag: null }],
    ['missing', { successFlag: undefined }],
    ['a word', { successFlag: 'done' }],
    ['true', { successFlag: true }],
    ['an object', { successFlag: {} }],
    ['0, whatever else it says', { errorCode: 500, resultInfoJson: { resultUrls: [URL_A] } }],
  ])('with successFlag %s means to keep waiting', (_name, facts) => {
    expect(parsePollAnswer(record(facts))).toEqual({ kind: 'pending' })
  })

  test.each<[string, unknown, string[]]>([
    ['object', { resultUrls: [{ resultUrl: URL_A }] }, [URL_A]],
    ['object with two', { resultUrls: [{ resultUrl: URL_A }, { resultUrl: URL_B }] }, [URL_A, URL_B]],
    ['JSON text of the object', JSON.stringify({ resultUrls: [{ resultUrl: URL_A }] }), [URL_A]],
    ['object of plain strings', { resultUrls: [URL_A, URL_B] }, [URL_A, URL_B]],
    ['JSON text of plain strings', JSON.stringify({ resultUrls: [URL_A] }), [URL_A]],
    ['object with result_urls', { result_urls: [URL_A] }, [URL_A]],
    ['object with result_urls of objects', { result_urls: [{ resultUrl: URL_B }] }, [URL_B]],
    ['JSON text with result_urls', JSON.stringify({ result_urls: [URL_A] }), [URL_A]],
    ['object with resultUrls null beside result_urls', { resultUrls: null, result_urls: [URL_A] }, [URL_A]],
  ])('with successFlag 1 and resultInfoJson as %s is success', (_name, resultInfoJson, imageUrls) => {
    expect(parsePollAnswer(result(resultInfoJson))).toEqual({ kind: 'succeeded', imageUrls })
  })

  test.each<[string, unknown]>([
    [
      'successFlag is a numeric string',
      record({ successFlag: '1', resultInfoJson: { resultUrls: [URL_A] } }),
    ],
    ['code is a numeric string', { ...result({ resultUrls: [URL_A] }), code: '200' }],
    [
      'times are epoch milliseconds',
      record({
        successFlag: 1,
        createTime: 1_767_225_600_000,
        completeTime: 1_767_225_660_000,
        resultInfoJson: { resultUrls: [URL_A] },
      }),
    ],
    [
      'there is a stale errorCode',
      record({ successFlag: 1, errorCode: 'x', resultInfoJson: { resultUrls: [URL_A] } }),
    ],
    [
      'nothing but what matters is there',
      { code: 200, data: { successFlag: 1, resultInfoJson: { resultUrls: [URL_A] } } },
    ],
  ])('is success although %s', (_name, body) => {
    expect(parsePollAnswer(body)).toEqual({ kind: 'succeeded', imageUrls: [URL_A] })
  })

  test.each<[string, unknown]>([
    ['null', null],
    ['missing', undefined],
    ['empty', {}],
    ['an empty list', { resultUrls: [] }],
    ['resultUrls null', { resultUrls: null }],
    ['an empty text', ''],
    ['text that is neither JSON nor a URL', 'a.png'],
    ['a URL with user info', { resultUrls: ['https://user:secret@cdn.example/a.png'] }],
    ['a URL of 250 KB', { resultUrls: [`https://cdn.example/${'a'.repeat(250_000)}`] }],
    ['JSON text of null', 'null'],
    ['a number', 7],
    ['objects without resultUrl', { resultUrls: [{ url: 'https://cdn.example/a.png' }, {}, null] }],
    ['a relative URL', { resultUrls: ['/a.png', 'a.png', '//cdn.example/a.png'] }],
    ['a URL of another kind', { resultUrls: ['ftp://cdn.example/a.png', 'data:image/png;base64,AA=='] }],
    ['a script', { resultUrls: [{ resultUrl: 'javascript:alert(1)' }] }],
  ])('with successFlag 1 but no URL (%s) means to keep waiting', (_name, resultInfoJson) => {
    expect(parsePollAnswer(result(resultInfoJson))).toMatchObject({ kind: 'pending' })
  })

  test('drops what is not an absolute http(s) URL and keeps the rest', () => {
    const resultUrls = ['file:///etc/passwd', URL_A, 'b.png', 17, null, [], { resultUrl: URL_B }]
    const imageUrls = [URL_A, URL_B]
    expect(parsePollAnswer(result({ resultUrls }))).toEqual({ kind: 'succeeded', imageUrls, dropped: 2 })
  })

  test('nested beyond all reason is no reason to throw', () => {
    let nested: unknown = [URL_A]
    for (let depth = 0; depth < 60_000; depth += 1) nested = { resultUrls: nested }
    expect(['pending', 'succeeded', 'unavailable']).toContain(parsePollAnswer(result(nested)).kind)
  })

  describe.each([2, 3, '2', '3'])('with successFlag %p', (successFlag) => {
    test.each(CODES)('and errorCode %i is the failure %s', (number, code, retryAfterMs) => {
      const failure = { code, upstreamCode: number, retryAfterMs }
      const failed = { kind: 'failed', failure, recorded: true }
      expect(parsePollAnswer(record({ successFlag, errorCode: number }))).toEqual(failed)
      expect(parsePollAnswer(record({ successFlag, errorCode: String(number) }))).toEqual(failed)
    })

    test.each([null, undefined, '', 'E_FAILED', 4.5, true, {}, []])(
      'and %p as errorCode is GENERATION_FAILED without a number',
      (errorCode) => {
        expect(parsePollAnswer(record({ successFlag, errorCode, errorMessage: 'no' }))).toEqual({
          kind: 'failed',
          failure: { code: 'GENERATION_FAILED', upstreamCode: null, retryAfterMs: 0 },
          recorded: true,
        })
      },
    )

    test.each(UNKNOWN_CODES)('and the unknown errorCode %i is a protocol error', (errorCode) => {
      expect(parsePollAnswer(record({ successFlag, errorCode }))).toEqual({
        kind: 'failed',
        failure: { code: 'UPSTREAM_PROTOCOL_ERROR', upstreamCode: errorCode, retryAfterMs: null },
        recorded: true,
      })
    })
  })

  test.each(BEYOND_INT)('with errorCode %s is a failure whose number fits GraphQL’s Int', (errorCode) => {
    const lookup = parsePollAnswer(record({ successFlag: 2, errorCode }))
    expect(lookup.kind).toBe('failed')
    expectInts(lookup)
  })

  test.each([
    ['422 with data null', 422, { code: 422, msg: 'recordInfo is null', data: null }],
    ['422 without data', 422, { code: 422, msg: 'recordInfo is null' }],
    ['"422" with data null', 422, { code: '422', data: null }],
    ['404 with data null', 404, { code: 404, msg: 'Not Found', data: null }],
    ['404 without data', 404, { code: 404 }],
  ])('says with %s that the task is not known', (_name, upstreamCode, body) => {
    expect(parsePollAnswer(body)).toEqual({ kind: 'notFound', upstreamCode })
  })

  test.each<[string, unknown]>([
    ...[201, 400, 401, 402, 429, 433, 455, 999].map((code): [string, unknown] => [
      `code ${code} with data null`,
      { code, msg: 'no', data: null },
    ]),
    ['code 422 with a record', { ...record({ successFlag: 2, errorCode: 422 }), code: 422 }],
    ['code 404 with a record', { ...record({ successFlag: 1 }), code: 404 }],
    ['code 200 with data null', { code: 200, data: null }],
    ['code 200 without data', { code: 200 }],
    ['code 200 with a text as data', { code: 200, data: 'up-1' }],
    ['code 200 with a list as data', { code: 200, data: [{ successFlag: 1 }] }],
    ...NOT_ENVELOPES,
  ])('says nothing of the task: %s', (_name, body) => {
    expect(parsePollAnswer(body)).toEqual({ kind: 'unavailable' })
  })
})

describe('record-info with a failure as the code of its envelope', () => {
  const failed = (code: string, upstreamCode: number, retryAfterMs: number | null, recorded: boolean) => ({
    kind: 'failed',
    failure: { code, upstreamCode, retryAfterMs },
    recorded,
  })
  const CASES = [
    [408, 'UPSTREAM_TIMEOUT', 0],
    [500, 'UPSTREAM_SERVER_ERROR', 5_000],
    [501, 'GENERATION_FAILED', 0],
    [505, 'FEATURE_DISABLED', null],
  ] as const

  test.each(CASES)('%i is the failure %s, with or without a record', (code, ours, retryAfterMs) => {
    expect(parsePollAnswer({ code, msg: 'no', data: null })).toEqual(failed(ours, code, retryAfterMs, false))
    expect(parsePollAnswer({ code, msg: 'no' })).toEqual(failed(ours, code, retryAfterMs, false))
    const generating = { code, data: { taskId: 'up-1', successFlag: 0 } }
    expect(parsePollAnswer(generating)).toEqual(failed(ours, code, retryAfterMs, true))
  })

  test('takes the precise code of the record before the coarse one of the envelope', () => {
    const body = { code: 500, data: { successFlag: 2, errorCode: 422 } }
    expect(parsePollAnswer(body)).toEqual(failed('UPSTREAM_VALIDATION_FAILED', 422, null, true))
  })
})

describe('the images of a result', () => {
  const url = (n: number) => `https://cdn.example/${n}.png`
  const images = (data: object) => parseCallback({ code: 200, data: { taskId: 'up-1', ...data } })?.outcome

  test('are counted once, wherever and however often their URL stands', () => {
    const data = { resultUrls: [url(1), url(2), url(1)], info: { resultUrls: [{ resultUrl: url(1) }] } }
    expect(images(data)).toEqual({ kind: 'succeeded', imageUrls: [url(1), url(2)] })
    expect(images({ resultUrls: [url(1)], info: { resultUrls: [url(1)] } })).toEqual({
      kind: 'succeeded',
      imageUrls: [url(1)],
    })
  })

  test('are at most 16, of 4,096 characters each; how many were dropped is counted', () => {
    const many = Array.from({ length: 19_000 }, (_, n) => url(n))
    expect(images({ resultUrls: many })).toEqual({
      kind: 'succeeded',
      imageUrls: many.slice(0, 16),
      dropped: 18_984,
    })
    const long = `https://cdn.example/${'a'.repeat(4_097)}`
    expect(images({ resultUrls: [long, url(1)] })).toEqual({
      kind: 'succeeded',
      imageUrls: [url(1)],
      dropped: 1,
    })
    // A URL grows when it is written in its normal form.
    expect(images({ resultUrls: [`https://cdn.example/${'ä'.repeat(1_000)}`] })).toEqual({
      kind: 'inconclusive',
      dropped: 1,
    })
  })

  test.each([
    ['one URL instead of a list', { resultUrls: url(1) }],
    ['one object instead of a list', { resultUrls: { resultUrl: url(1) } }],
    ['a JSON text of a list', { resultUrls: JSON.stringify([url(1)]) }],
    ['one URL in info', { info: { resultUrls: url(1) } }],
  ])('may come as %s', (_name, data) => {
    expect(images(data)).toEqual({ kind: 'succeeded', imageUrls: [url(1)] })
  })

  test('with user info in their URL are dropped', () => {
    const resultUrls = ['https://user@cdn.example/a.png', 'https://:secret@cdn.example/a.png', url(1)]
    expect(images({ resultUrls })).toEqual({ kind: 'succeeded', imageUrls: [url(1)], dropped: 2 })
  })
})

describe('a callback', () => {
  const URL_A = 'https://cdn.example/a.png'
  const URL_B = 'http://cdn.example/b.png'
  const success = { taskId: 'up-1', promptJson: '{"prompt":"a cat"}', resultUrls: [URL_A] }
  const succeeded = (...imageUrls: string[]) => ({
    upstreamTaskId: 'up-1',
    outcome: { kind: 'succeeded', imageUrls },
  })
  const inconclusive = { upstreamTaskId: 'up-1', outcome: { kind: 'inconclusive' } }

  test.each<[string, unknown, string[]]>([
    ['as documented', { code: 200, msg: 'success', data: success }, [URL_A]],
    ['with a numeric string as code', { code: '200', data: success }, [URL_A]],
    ['without promptJson', { code: 200, data: { taskId: 'up-1', resultUrls: [URL_A] } }, [URL_A]],
    ['with a promptJson of any kind', { code: 200, data: { ...success, promptJson: { a: [1] } } }, [URL_A]],
    ['with four URLs', { code: 200, data: { ...success, resultUrls: [URL_A, URL_B] } }, [URL_A, URL_B]],
    [
      'with items as objects',
      { code: 200, data: { ...success, resultUrls: [{ resultUrl: URL_B }] } },
      [URL_B],
    ],
    ['with URLs in info', { code: 200, data: { taskId: 'up-1', info: { resultUrls: [URL_A] } } }, [URL_A]],
    [
      'with URLs in info beside none',
      { code: 200, data: { taskId: 'up-1', resultUrls: [], info: { resultUrls: [URL_B] } } },
      [URL_B],
    ],
    [
      'with URLs in info beside a null',
      { code: 200, data: { taskId: 'up-1', resultUrls: null, info: { resultUrls: [{ resultUrl: URL_B }] } } },
      [URL_B],
    ],
    [
      'with a useless item beside a useful one',
      { code: 200, data: { ...success, resultUrls: ['a.png', null, 'ftp://x.example/', URL_A] } },
      [URL_A],
    ],
  ])('of code 200 with a URL is success: %s', (_name, body, imageUrls) => {
    expect(parseCallback(body)).toMatchObject(succeeded(...imageUrls))
  })

  test.each<[string, unknown]>([
    ['an empty list', { taskId: 'up-1', resultUrls: [] }],
    ['no list', { taskId: 'up-1' }],
    ['null', { taskId: 'up-1', resultUrls: null }],
    ['no list but a text', { taskId: 'up-1', resultUrls: 'none' }],
    ['an empty info', { taskId: 'up-1', info: {} }],
    ['an info that is a text', { taskId: 'up-1', info: 'none' }],
    ['nothing absolute', { taskId: 'up-1', resultUrls: ['/a.png'] }],
    ['nothing of the web', { taskId: 'up-1', resultUrls: ['javascript:alert(1)'] }],
  ])('of code 200 without a URL decides nothing: %s', (_name, data) => {
    expect(parseCallback({ code: 200, msg: 'success', data })).toMatchObject(inconclusive)
  })

  test.each(CODES)('of code %i is the failure %s', (number, code, retryAfterMs) => {
    const failed = {
      upstreamTaskId: 'up-1',
      outcome: { kind: 'failed', failure: { code, upstreamCode: number, retryAfterMs } },
    }
    const data = { taskId: 'up-1', promptJson: '{}', resultUrls: [] }
    expect(parseCallback({ code: number, msg: 'no', data })).toEqual(failed)
    expect(parseCallback({ code: String(number), msg: 'no', data })).toEqual(failed)
    expect(parseCallback({ code: number, msg: 'no', data: success })).toEqual(failed)
    expect(parseCallback({ code: number, taskId: 'up-1', data: null })).toEqual(failed)
    expect(parseCallback({ code: number, taskId: 'up-1' })).toEqual(failed)
  })

  test.each(UNKNOWN_CODES)('of the unknown code %i is a protocol error that keeps it', (code) => {
    expect(parseCallback({ code, data: success })?.outcome).toEqual({
      kind: 'failed',
      failure: { code: 'UPSTREAM_PROTOCOL_ERROR', upstreamCode: code, retryAfterMs: null },
    })
  })

  test.each(BEYOND_INT)('of code %s gives no number that GraphQL’s Int cannot hold', (code) => {
    const news = parseCallback({ code, data: success })
    expect(news?.outcome.kind).not.toBe('succeeded')
    expectInts(news?.outcome)
  })

  test.each<[string, object]>([
    ['data.taskId', { data: { taskId: 'up-1' } }],
    ['data.task_id', { data: { task_id: 'up-1' } }],
    ['taskId', { taskId: 'up-1', data: {} }],
    ['taskId, with data null', { taskId: 'up-1', data: null }],
    ['taskId, without data', { taskId: 'up-1' }],
    ['two places that agree', { data: { taskId: 'up-1', task_id: 'up-1' } }],
    ['three places that agree', { taskId: 'up-1', data: { taskId: 'up-1', task_id: 'up-1' } }],
    ['one place, the others null', { taskId: null, data: { taskId: null, task_id: 'up-1' } }],
  ])('may have its task id in %s', (_name, ids) => {
    expect(parseCallback({ code: 500, ...ids })?.upstreamTaskId).toBe('up-1')
    expect(parseCallback({ code: 200, ...ids })).toEqual(inconclusive)
  })

  test.each<[string, object]>([
    ['data.taskId and data.task_id', { data: { taskId: 'up-1', task_id: 'up-2' } }],
    ['taskId and data.taskId', { taskId: 'up-2', data: { taskId: 'up-1' } }],
    ['taskId and data.task_id', { taskId: 'up-2', data: { task_id: 'up-1' } }],
    ['one of three', { taskId: 'up-1', data: { taskId: 'up-1', task_id: 'up-2' } }],
    ['letter case', { taskId: 'UP-1', data: { taskId: 'up-1' } }],
  ])('whose task ids disagree is none: %s', (_name, ids) => {
    expect(parseCallback({ code: 500, ...ids })).toBeUndefined()
    expect(parseCallback({ code: 200, resultUrls: [URL_A], ...ids })).toBeUndefined()
  })

  test.each<[string, object]>([
    ['nowhere', { data: { resultUrls: [URL_A] } }],
    ['nowhere, with data null', { data: null }],
    ['nowhere, without data', {}],
    ['empty', { data: { taskId: '' } }],
    ['blank', { taskId: ' ', data: { taskId: ' ' } }],
    ['unprintable', { data: { taskId: 'up\n' } }],
    ['half a character', { data: { taskId: 'up\udfff' } }],
    ['null', { taskId: null, data: { taskId: null, task_id: null } }],
    ['a fraction', { data: { taskId: 1.5 } }],
    ['a number that is not exact', { data: { taskId: 2 ** 53 } }],
    ['in a place nobody knows', { data: { id: 'up-1' } }],
  ])('without a task id is none: %s', (_name, ids) => {
    expect(parseCallback({ code: 200, ...ids })).toBeUndefined()
    expect(parseCallback({ code: 500, ...ids })).toBeUndefined()
  })

  test.each<[string, unknown]>([
    ...NOT_ENVELOPES,
    ['with data as a text', { code: 200, data: 'up-1' }],
    ['with data as a list', { code: 200, data: [{ taskId: 'up-1' }] }],
  ])('is none when the body is %s', (_name, body) => {
    expect(parseCallback(body)).toBeUndefined()
  })
})

describe('whatever JSON comes in', () => {
  const random = createRandom(20_260_101)
  const bodies = Array.from({ length: 600 }, () => randomJson(random, 4))

  test('no answer to a create request makes the parser throw', () => {
    for (const body of bodies)
      for (const status of [200, 429, 502]) {
        const answer = parseSubmitAnswer(status, body, null)
        if (answer.kind === 'accepted') expect(answer.upstreamTaskId).not.toBe('')
        else if (answer.kind === 'refused') expect(answer.failure.code).toEqual(expect.any(String))
        else expect(answer.note).toContain(`HTTP ${status}`)
        if (status !== 200) expect(answer.kind).not.toBe('accepted')
      }
  })

  test('no answer of record-info makes the parser throw', () => {
    const kinds = new Set(bodies.map((body) => parsePollAnswer(body)).map(check))
    // The generator is worth something only if it gets to every branch.
    expect([...kinds].sort()).toEqual(['failed', 'notFound', 'pending', 'succeeded', 'unavailable'])
  })

  test('no callback makes the parser throw', () => {
    const kinds = new Set(
      bodies.map((body) => parseCallback(body)).map((news) => news && check(news.outcome)),
    )
    expect([...kinds].sort()).toEqual(['failed', 'inconclusive', 'succeeded', undefined])
  })

  /** The kind of an outcome, whose URLs, if it has any, are of the web. */
  function check(outcome: { kind: string; imageUrls?: readonly string[] }): string {
    for (const url of outcome.imageUrls ?? []) expect(new URL(url).protocol).toMatch(/^https?:$/)
    if (outcome.kind === 'succeeded') expect(outcome.imageUrls).not.toHaveLength(0)
    return outcome.kind
  }
})

/** No number in a failure is one that the GraphQL field of type Int could not show. */
function expectInts(holder: object | undefined): void {
  const failure = holder && 'failure' in holder ? (holder.failure as Record<string, unknown>) : {}
  for (const value of [failure.upstreamCode, failure.retryAfterMs])
    if (typeof value === 'number') expect(Math.abs(value)).toBeLessThanOrEqual(MAX_INT)
}

/** JSON of any shape, mostly in the vendor's words, so that it gets past the first check. */
function randomJson(random: () => number, depth: number): unknown {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T
  const size = () => Math.floor(random() * 4)
  const any = (rest: number): unknown => {
    if (rest === 0 || random() < 0.3) return pick(SCALARS)
    if (random() < 0.3) return Array.from({ length: size() }, () => any(rest - 1))
    if (random() < 0.1) return JSON.stringify(any(rest - 1))
    return Object.fromEntries(Array.from({ length: size() + 1 }, () => [pick(KEYS), any(rest - 1)]))
  }
  if (random() < 0.2) return any(depth)
  const data: unknown =
    random() < 0.2
      ? any(depth)
      : {
          taskId: pick(['up-1', 'up-1', 'up-1', 'up-2', null, 7, '']),
          successFlag: pick([0, 1, 1, 1, 2, 3, '1', '3', null, 9]),
          errorCode: pick([null, 500, '501', 'x', 12, {}]),
          resultUrls: random() < 0.5 ? [pick(SCALARS), pick(SCALARS)] : any(depth - 1),
          resultInfoJson: random() < 0.5 ? { resultUrls: [any(0), any(0)] } : any(depth - 1),
          ...(random() < 0.3 && { [pick(KEYS)]: any(depth - 1) }),
        }
  return {
    code: pick([200, 200, 200, '200', 404, 422, 429, 500, '501', 3, null, 'x']),
    ...(random() < 0.8 && { data }),
    ...(random() < 0.3 && { [pick(KEYS)]: any(depth - 1) }),
  }
}
