import { describe, expect, test } from '@jest/globals'
import { legnext as dialect } from '../../src/upstream/legnext/dialect.ts'

const URL_A = 'https://image.legnext.example/a.png'
const URL_B = 'https://image.legnext.example/b.png'
const submit = (body: unknown, status = 200) => dialect.parseSubmit({ status, body, retryAfterMs: null })
const poll = (body: unknown, status = 200) => dialect.parsePoll({ status, body, retryAfterMs: null })
/** A job as the vendor's page shows it. */
const job = (facts: object) => ({
  job_id: 'a',
  model: 'midjourney',
  task_type: 'upscale',
  status: 'pending',
  config: { webhook_config: { endpoint: 'https://gateway.example/token', secret: '' } },
  output: { image_url: '', image_urls: null, seed: '' },
  meta: { usage: { type: 'point', frozen: 80, consume: 0 } },
  error: { code: 0, raw_message: '', message: '', detail: null },
  ...facts,
})
const usage = (consume: unknown) => ({ usage: { type: 'point', frozen: 0, consume } })

describe('a job of LegNext', () => {
  test('is submitted with an index from 0', () => {
    const picture = { sourceTaskId: 's', imageIndex: 3, waterMark: null, sourceUrl: null }
    const path = '/api/v1/upscale'
    const body = { jobId: 's', imageNo: 3, type: 0 }
    expect(dialect.toSubmit({ ...picture, callBackUrl: null })).toEqual({ path, body })
    const callback = 'https://gateway.example/callback'
    expect(dialect.toSubmit({ ...picture, callBackUrl: callback })).toEqual({
      path,
      body: { ...body, callback },
    })
  })

  test('is named by one segment of the path', () => {
    expect(dialect.toPollPath('a/b?c')).toBe('/api/v1/job/a%2Fb%3Fc')
  })

  test.each(['pending', 'staged', 'processing', 'paused', '', null, 7])('in status %p runs', (status) => {
    const body = job({ status, output: { image_url: URL_A } })
    expect(submit(body)).toEqual({ kind: 'accepted', upstreamTaskId: 'a' })
    expect(poll(body)).toEqual({ kind: 'pending' })
  })

  test('calls back with its record', () => {
    const called = (outcome: object) => ({ upstreamTaskId: 'a', outcome })
    expect(dialect.parseCallback(job({ status: 'processing' }))).toEqual(called({ kind: 'pending' }))
    expect(dialect.parseCallback(job({ status: 'completed' }))).toEqual(called({ kind: 'inconclusive' }))
    const output = { image_url: URL_A, image_urls: null }
    const succeeded = { kind: 'succeeded', imageUrls: [URL_A], creditsConsumed: 80 }
    expect(dialect.parseCallback(job({ status: 'completed', output, meta: usage(80) }))).toEqual(
      called(succeeded),
    )
    expect(dialect.parseCallback({ job_id: 'a', status: null })).toBeUndefined()
  })

  test.each<[string, unknown, string[]]>([
    ['only its picture', { image_url: URL_A }, [URL_A]],
    ['a list of it', { image_url: URL_A, image_urls: [URL_A] }, [URL_A]],
    [
      'a list, and the grid of it',
      { image_url: 'https://x.example/grid.png', image_urls: [URL_A, URL_B] },
      [URL_A, URL_B],
    ],
    ['an empty list', { image_url: URL_A, image_urls: [] }, [URL_A]],
    ['a list in JSON text', { image_urls: JSON.stringify([URL_A]) }, [URL_A]],
  ])('that is completed with %s has succeeded, also at submit', (_name, output, imageUrls) => {
    const outcome = { kind: 'succeeded', imageUrls, creditsConsumed: 80 }
    const body = job({ status: 'completed', output, meta: usage(80) })
    expect(poll(body)).toEqual(outcome)
    expect(submit(body)).toEqual({ kind: 'accepted', upstreamTaskId: 'a', outcome })
  })

  test('that is completed without a URL is polled on', () => {
    const body = job({ status: 'completed', output: null })
    expect(poll(body)).toEqual({ kind: 'pending' })
    expect(submit(body)).toEqual({ kind: 'accepted', upstreamTaskId: 'a' })
  })

  test('that has failed reports its code, if there is one, also at submit', () => {
    const error = { code: 422, message: 'no' }
    const failure = { code: 'UPSTREAM_VALIDATION_FAILED', upstreamCode: 422, retryAfterMs: null }
    const outcome = { kind: 'failed', failure, creditsConsumed: 0 }
    expect(poll(job({ status: 'failed', error }))).toEqual({ ...outcome, recorded: true })
    expect(submit(job({ status: 'failed', error }))).toEqual({
      kind: 'accepted',
      upstreamTaskId: 'a',
      outcome,
    })
    for (const none of [null, {}, { code: 0 }, { code: '0' }, { code: 'E' }, 'no'])
      expect(poll(job({ status: 'failed', error: none, meta: null }))).toEqual({
        kind: 'failed',
        failure: { code: 'GENERATION_FAILED', upstreamCode: null, retryAfterMs: 0 },
        recorded: true,
      })
  })

  test.each([-1, null, 'three', {}])('whose usage is %p reports no credits', (consume) => {
    const output = { image_url: URL_A }
    expect(poll(job({ status: 'completed', output, meta: usage(consume) }))).toEqual({
      kind: 'succeeded',
      imageUrls: [URL_A],
    })
  })

  test.each<[string, number, unknown, object]>([
    [
      'an error under `error`',
      402,
      { error: { code: 402, message: 'no' } },
      { code: 'INSUFFICIENT_CREDITS', upstreamCode: 402 },
    ],
    [
      'a numeric string',
      403,
      { code: '403', message: 'no' },
      { code: 'UPSTREAM_VALIDATION_FAILED', upstreamCode: 403 },
    ],
    ['HTTP 200', 200, { code: 429, message: 'no' }, { code: 'UPSTREAM_RATE_LIMITED', upstreamCode: 429 }],
    ['a message only', 400, { message: 'no' }, { code: 'UPSTREAM_BAD_REQUEST', upstreamCode: 400 }],
    [
      'a message only, of a gateway',
      403,
      { message: 'Forbidden' },
      { code: 'UPSTREAM_PROTOCOL_ERROR', nothingCharged: true },
    ],
  ])('is refused with %s', (_name, status, body, failure) => {
    expect(submit(body, status)).toMatchObject({ kind: 'refused', failure })
  })

  test.each<[string, number, unknown]>([
    ['no id', 200, { status: 'pending' }],
    ['an envelope of success without an id', 200, { code: 200, message: 'success', data: null }],
    ['an id with the status of a failure', 500, job({})],
    ['an id and a code', 400, job({ code: 400 })],
    ['a message only', 500, { message: 'no' }],
  ])('is unknown with %s', (_name, status, body) => {
    expect(submit(body, status)).toMatchObject({ kind: 'unknown' })
  })

  test('is not known after an error with code 404', () => {
    const notFound = { kind: 'notFound', upstreamCode: 404 }
    expect(poll({ code: 404, message: 'job not found' }, 404)).toEqual(notFound)
    expect(poll({ message: 'job not found' }, 404)).toEqual(notFound)
    expect(poll({ code: 404, message: 'job not found' })).toEqual(notFound)
    for (const [body, status] of [
      [undefined, 404],
      [{ code: 401 }, 401],
      [job({ status: 'failed' }), 500],
    ] as const)
      expect(poll(body, status)).toEqual({ kind: 'unavailable' })
  })

  test('is paid with credits and points', () => {
    const credits = (data: unknown, status = 200) =>
      dialect.credits?.parse({ status, body: { code: 200, data }, retryAfterMs: null })
    expect(credits({ available_credits: 71_000, available_points: 1_048 })).toBe(72_048)
    expect(credits({ available_credits: 7 })).toBe(7)
    expect(credits({ available_points: 0 })).toBe(0)
    for (const data of [null, {}, { available_credits: '7' }]) expect(credits(data)).toBeNull()
    expect(credits({ available_credits: 7 }, 500)).toBeNull()
  })
})
