import { describe, expect, test } from '@jest/globals'
import { parseJson } from '../../src/upstream/json.ts'
import { midjourneyProxy as dialect } from '../../src/upstream/midjourney-proxy/dialect.ts'

const URL_A = 'https://cdn.example/a.png'
const submit = (body: unknown, status = 200) => dialect.parseSubmit({ status, body, retryAfterMs: null })
const poll = (body: unknown, status = 200) => dialect.parsePoll({ status, body, retryAfterMs: null })
const FAILED = { kind: 'failed', failure: { code: 'GENERATION_FAILED', upstreamCode: null, retryAfterMs: 0 } }

describe('a task of midjourney-proxy', () => {
  test.each([0, 1, 2, 3])('for picture %i is submitted with an index from 1', (imageIndex) => {
    const picture = { sourceTaskId: '1320098173412546', imageIndex, waterMark: null, sourceUrl: null }
    const content = `1320098173412546 U${imageIndex + 1}`
    const path = '/mj/submit/simple-change'
    expect(dialect.toSubmit({ ...picture, callBackUrl: null })).toEqual({ path, body: { content } })
    const notifyHook = 'https://gateway.example/callback'
    expect(dialect.toSubmit({ ...picture, callBackUrl: notifyHook })).toEqual({
      path,
      body: { content, notifyHook },
    })
  })

  test('is named by one segment of the path', () => {
    expect(dialect.toPollPath('a/b?c')).toBe('/mj/task/a%2Fb%3Fc/fetch')
  })

  test.each([1, '1', 22, '22', 21])('is accepted with code %p', (code) => {
    expect(submit({ code, description: 'yes', result: 'a' })).toEqual({
      kind: 'accepted',
      upstreamTaskId: 'a',
    })
  })

  test('may have a number of 20 digits as its id', () => {
    const upstreamTaskId = '12345678901234567890'
    expect(submit(parseJson(`{"code":1,"result":${upstreamTaskId}}`))).toEqual({
      kind: 'accepted',
      upstreamTaskId,
    })
  })

  test.each<[string, unknown, unknown]>([
    ['SUCCESS', { status: 'SUCCESS', imageUrl: URL_A }, { kind: 'succeeded', imageUrls: [URL_A] }],
    ['SUCCESS without a URL', { status: 'SUCCESS', imageUrl: null }, undefined],
    ['FAILURE', { status: 'FAILURE', imageUrl: null }, FAILED],
    ['IN_PROGRESS with a preview', { status: 'IN_PROGRESS', imageUrl: URL_A }, undefined],
    ['no status', { imageUrl: URL_A }, undefined],
    ['no properties', undefined, undefined],
  ])('that exists already (%s) is the answer', (_name, properties, outcome) => {
    const accepted = { kind: 'accepted', upstreamTaskId: 'a' }
    expect(submit({ code: 21, result: 'a', properties })).toEqual({
      ...accepted,
      ...(outcome !== undefined && { outcome }),
    })
    expect(submit({ code: 1, result: 'a', properties })).toEqual(accepted)
  })

  test.each([undefined, null, '', {}, [], 1.5, 'a\u0000'])('without an id (%p) is unknown', (result) => {
    for (const code of [1, 21, 22])
      expect(submit({ code, result })).toEqual({
        kind: 'unknown',
        note: `not understood: HTTP 200, code ${code}, no task id`,
      })
  })

  test.each([500, 502, 504])('is unknown after HTTP %i, whatever code the body has', (status) => {
    for (const code of [1, 3, 4, 9, 23, 24])
      expect(submit({ code, description: 'no', result: 'a' }, status)).toMatchObject({ kind: 'unknown' })
  })

  test('is refused by a body without a code only if the status proves it', () => {
    const failure = { code: 'UPSTREAM_UNAUTHORIZED', upstreamCode: 401, nothingCharged: true }
    expect(submit(null, 401)).toMatchObject({ kind: 'refused', failure })
    expect(submit({ timestamp: 1, status: 500, error: 'Internal Server Error' }, 500)).toMatchObject({
      kind: 'unknown',
    })
    expect(submit({ code: 1, result: 'a' }, 302)).toMatchObject({ kind: 'unknown' })
  })

  test.each(['NOT_START', 'SUBMITTED', 'MODAL', 'IN_PROGRESS', 'PAUSED', ''])(
    'in status %p runs',
    (status) => {
      expect(poll({ id: 'a', status, imageUrl: URL_A })).toEqual({ kind: 'pending' })
      expect(dialect.parseCallback({ id: 'a', status, imageUrl: URL_A })).toEqual({
        upstreamTaskId: 'a',
        outcome: { kind: 'pending' },
      })
    },
  )

  test('succeeds with its picture', () => {
    const outcome = { kind: 'succeeded', imageUrls: [URL_A] }
    const body = { id: 'a', status: 'SUCCESS', imageUrl: URL_A, progress: '100%' }
    expect(poll(body)).toEqual(outcome)
    expect(dialect.parseCallback(body)).toEqual({ upstreamTaskId: 'a', outcome })
  })

  test.each([
    [null, {}],
    [undefined, {}],
    ['', {}],
    ['a.png', { dropped: 1 }],
  ])('that succeeds with imageUrl %p is polled on', (imageUrl, dropped) => {
    const body = { id: 'a', status: 'SUCCESS', imageUrl }
    expect(poll(body)).toEqual({ kind: 'pending', ...dropped })
    const outcome = { kind: 'inconclusive', ...dropped }
    expect(dialect.parseCallback(body)).toEqual({ upstreamTaskId: 'a', outcome })
  })

  test.each(['FAILURE', 'CANCEL'])('in status %s has failed without a code', (status) => {
    const body = { id: 'a', status, failReason: 'timeout', imageUrl: URL_A }
    expect(poll(body)).toEqual({ ...FAILED, recorded: true })
    expect(dialect.parseCallback(body)).toEqual({ upstreamTaskId: 'a', outcome: FAILED })
  })

  test('is not known after HTTP 404, or an empty body or null', () => {
    const notFound = { kind: 'notFound', upstreamCode: 404 }
    for (const [body, status] of [
      [null, 200],
      [null, 204],
      [null, 404],
      [{ error: 'Not Found' }, 404],
    ] as const)
      expect(poll(body, status)).toEqual(notFound)
    for (const [body, status] of [
      [undefined, 200],
      // Not JSON, as from a proxy while the upstream restarts.
      [undefined, 404],
      [null, 500],
      [null, 401],
      [{}, 200],
      [[], 200],
    ] as const)
      expect(poll(body, status)).toEqual({ kind: 'unavailable' })
  })

  test('of a generation has one grid', () => {
    const source = (body: unknown) => dialect.source.parse({ status: 200, body, retryAfterMs: null })
    expect(source({ id: 'a', action: 'IMAGINE', status: 'SUCCESS', imageUrl: URL_A })).toEqual([URL_A])
    expect(source({ id: 'a', action: 'IMAGINE', status: 'IN_PROGRESS', imageUrl: URL_A })).toBeNull()
  })
})
