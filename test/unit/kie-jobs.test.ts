import { describe, expect, test } from '@jest/globals'
import { ADAPTERS, type AdapterOptions } from '../../src/upstream/adapters.ts'

const create = (options: Partial<AdapterOptions> = {}) =>
  ADAPTERS['kie-jobs'].createDialect({ model: null, factor: null, ...options })
const dialect = create()
const URL_A = 'https://cdn.example/a.png'
const RESULT = JSON.stringify({ resultUrls: [URL_A] })
const REQUEST = { sourceTaskId: 's', imageIndex: 1, waterMark: null, callBackUrl: null, sourceUrl: URL_A }

describe('a job of kie.ai', () => {
  test.each([
    [{}, { model: 'topaz/image-upscale', input: { image_url: URL_A, upscale_factor: '2' } }],
    [{ factor: 4 }, { model: 'topaz/image-upscale', input: { image_url: URL_A, upscale_factor: '4' } }],
    [{ model: 'recraft/crisp-upscale' }, { model: 'recraft/crisp-upscale', input: { image: URL_A } }],
  ])('with %j is created with the inputs of its model', (options, body) => {
    const path = '/api/v1/jobs/createTask'
    expect(create(options).toSubmit(REQUEST)).toEqual({ path, body })
    const callBackUrl = 'https://gateway.example/callback'
    expect(create(options).toSubmit({ ...REQUEST, callBackUrl })).toEqual({
      path,
      body: { ...body, callBackUrl },
    })
  })

  test.each([
    [
      { model: 'topaz/video-upscale' },
      /^model: "topaz\/video-upscale" must be one of topaz\/image-upscale, recraft/,
    ],
    [{ factor: 3 }, /^factor: 3 must be one of 1, 2, 4$/],
    [
      { model: 'recraft/crisp-upscale', factor: 2 },
      /^factor: the model recraft\/crisp-upscale has none; omit it$/,
    ],
  ])('with %j is refused at the start, naming the option', (options, message) => {
    expect(() => create(options)).toThrow(message)
  })

  test.each(['kie-midjourney', 'midjourney-proxy', 'legnext'] as const)(
    'options are no options of %s',
    (name) => {
      const { createDialect } = ADAPTERS[name]
      expect(() => createDialect({ model: 'any', factor: null })).toThrow(/^model: /)
      expect(() => createDialect({ model: null, factor: 2 })).toThrow(/^factor: /)
    },
  )

  const poll = (data: object, code: unknown = 200) =>
    dialect.parsePoll({ status: 200, body: { code, data: { taskId: 'a', ...data } }, retryAfterMs: null })
  const failed = (code: string, upstreamCode: number | null, more = {}) =>
    expect.objectContaining({
      kind: 'failed',
      failure: expect.objectContaining({ code, upstreamCode }),
      ...more,
    })

  test.each(['waiting', 'queuing', 'generating', 'paused', '', null, 7, undefined])(
    'in state %p runs',
    (state) => {
      expect(poll({ state, resultJson: RESULT, failCode: '500' })).toEqual({ kind: 'pending' })
    },
  )

  test('that has succeeded reports its credits', () => {
    const succeeded = { kind: 'succeeded', imageUrls: [URL_A] }
    expect(poll({ state: 'success', resultJson: RESULT, creditsConsumed: 2.5 })).toEqual({
      ...succeeded,
      creditsConsumed: 2.5,
    })
    expect(poll({ state: 'success', resultJson: RESULT, creditsConsumed: '2.5' })).toMatchObject({
      creditsConsumed: 2.5,
    })
    // More than a million credits is a fault of the upstream.
    for (const creditsConsumed of [-1, null, '-3', '', 'x', 1e7, 1e308, Infinity, NaN, {}])
      expect(poll({ state: 'success', resultJson: RESULT, creditsConsumed })).toEqual(succeeded)
    expect(poll({ state: 'success', resultJson: { resultUrls: [URL_A] } })).toEqual(succeeded)
  })

  test.each(['', null, '{}', '{"resultUrls":[]}', '{', 7])(
    'that has succeeded with result %p runs',
    (resultJson) => {
      expect(poll({ state: 'success', resultJson })).toMatchObject({ kind: 'pending' })
    },
  )

  test('that has failed reports its code, if that is a number, and its credits', () => {
    expect(poll({ state: 'fail', failCode: '422', creditsConsumed: 0 })).toEqual(
      failed('UPSTREAM_VALIDATION_FAILED', 422, { recorded: true, creditsConsumed: 0 }),
    )
    for (const failCode of ['', null, 'MODERATION', 4.5, {}])
      expect(poll({ state: 'fail', failCode })).toEqual(failed('GENERATION_FAILED', null))
  })

  test('that the envelope reports as failed has failed', () => {
    expect(poll({ state: 'generating' }, 408)).toEqual(failed('UPSTREAM_TIMEOUT', 408, { recorded: true }))
    expect(poll({ state: 'fail', failCode: '400' }, 501)).toEqual(failed('UPSTREAM_BAD_REQUEST', 400))
    const body = { code: '501', data: null }
    expect(dialect.parsePoll({ status: 200, body, retryAfterMs: null })).toEqual(
      failed('GENERATION_FAILED', 501, { recorded: false }),
    )
  })

  test.each([422, 404])('that is not known has code %i and no record', (code) => {
    const body = { code, msg: 'recordInfo is null', data: null }
    expect(dialect.parsePoll({ status: 200, body, retryAfterMs: null })).toEqual({
      kind: 'notFound',
      upstreamCode: code,
    })
  })

  test.each([401, 402, 429, 433, 455])('is not judged by an answer with code %i', (code) => {
    expect(poll({ state: 'fail' }, code)).toEqual({ kind: 'unavailable' })
  })

  const call = (code: unknown, data: object) =>
    dialect.parseCallback({ code, data: { taskId: 'a', ...data } })

  test.each<[string, unknown, object, unknown]>([
    ['success', 200, { state: 'success', resultJson: RESULT }, { kind: 'succeeded', imageUrls: [URL_A] }],
    ['success without a URL', 200, { state: 'success', resultJson: '' }, { kind: 'inconclusive' }],
    [
      'success with an unusable URL',
      '200',
      { state: 'success', resultJson: '["a"]' },
      { kind: 'inconclusive', dropped: 1 },
    ],
    ['progress', 200, { state: 'generating' }, { kind: 'pending' }],
    ['no state', 200, { resultJson: RESULT }, { kind: 'inconclusive' }],
    [
      'a failure with its code',
      501,
      { state: 'fail', failCode: '422' },
      failed('UPSTREAM_VALIDATION_FAILED', 422),
    ],
    ['a failure with a text', 501, { state: 'fail', failCode: 'E' }, failed('GENERATION_FAILED', 501)],
    [
      'a failure with a text and code 200',
      200,
      { state: 'fail', failCode: 'E' },
      failed('GENERATION_FAILED', null),
    ],
    ['a failure without a state', 500, {}, failed('UPSTREAM_SERVER_ERROR', 500)],
    [
      'success with the code of a failure',
      501,
      { state: 'success', resultJson: RESULT },
      { kind: 'inconclusive' },
    ],
    ['progress with the code of a failure', 501, { state: 'waiting' }, { kind: 'inconclusive' }],
  ])('calls back: %s', (_name, code, data, outcome) => {
    expect(call(code, data)).toEqual({ upstreamTaskId: 'a', outcome })
  })

  test('calls back with credits', () => {
    const outcome = { kind: 'succeeded', imageUrls: [URL_A], creditsConsumed: 10 }
    expect(call(200, { state: 'success', resultJson: RESULT, creditsConsumed: 10 })).toMatchObject({
      outcome,
    })
  })

  test('calls back with one task id, in any of three places', () => {
    const outcome = { kind: 'inconclusive' }
    const called = { upstreamTaskId: 'b', outcome }
    expect(dialect.parseCallback({ code: 200, taskId: 'b', data: null })).toEqual(called)
    expect(dialect.parseCallback({ code: 200, data: { task_id: 'b' } })).toEqual(called)
    expect(dialect.parseCallback({ code: 200, taskId: 'b', data: { taskId: 'b', task_id: 'b' } })).toEqual(
      called,
    )
    expect(dialect.parseCallback({ code: 200, taskId: 'a', data: { taskId: 'b' } })).toBeUndefined()
  })

  test('never shows its parameters, which contain the callback URL', () => {
    const param = JSON.stringify({ callBackUrl: 'https://gateway.example/token', resultUrls: [URL_A] })
    expect(poll({ state: 'success', param })).toEqual({ kind: 'pending' })
    expect(call(200, { state: 'fail', failCode: '501', param })).not.toHaveProperty('param')
  })
})
