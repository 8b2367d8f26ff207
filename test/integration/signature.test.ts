import { createHmac } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import {
  FollowTaskDocument,
  GetHistoryDocument,
  GetTaskDocument,
  UpscaleImageDocument,
} from '../generated/operations.ts'
import { collect, startGateway, type Gateway } from '../support/gateway.ts'
import { json, startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'

const KEYS = ['current-signing-key', 'previous-signing-key']
const RESULT = 'https://example.com/result.png'

/** The vendor's headers for a task, signed so many seconds ago. */
function sign(key: string, taskId: string, ageS = 0) {
  const timestamp = String(Math.floor(Date.now() / 1_000) - ageS)
  const signature = createHmac('sha256', key).update(`${taskId}.${timestamp}`).digest('base64')
  return { 'x-webhook-timestamp': timestamp, 'x-webhook-signature': signature }
}

describe('with UPSTREAM_WEBHOOK_KEYS set', () => {
  let upstream: ScriptedUpstream
  let gateway: Gateway
  beforeEach(async () => {
    upstream = await startScriptedUpstream()
    gateway = await startGateway({ UPSTREAM_URL: upstream.url, UPSTREAM_WEBHOOK_KEYS: KEYS.join(', ') })
  })
  afterEach(async () => {
    await gateway[Symbol.asyncDispose]()
    await upstream[Symbol.asyncDispose]()
    for (const key of KEYS) expect(gateway.log()).not.toContain(key)
  })

  async function submit() {
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, {
      input: { taskId: 's', imageIndex: 0 },
    })
    const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
    const id = data?.upscaleImage?.task?.id ?? ''
    const call = async (headers: Record<string, string>, changes: object = {}) => {
      const body = JSON.stringify({
        code: 200,
        data: { taskId: 'upstream-1', resultUrls: [RESULT] },
        ...changes,
      })
      return (await fetch(callBackUrl, { method: 'POST', body, headers })).status
    }
    const read = async () => (await gateway.run('HTTP', GetTaskDocument, { id })).data?.upscaleTask
    return { id, call, read }
  }

  test.each(KEYS)('a callback signed with %s settles its task', async (key) => {
    const { call, read } = await submit()
    expect(await call(sign(key, 'upstream-1'))).toBe(200)
    expect(await read()).toMatchObject({ status: 'SUCCEEDED' })
  })

  test.each([
    ['without a signature', {}],
    ['signed with another key', sign('other', 'upstream-1')],
    ['signed for another task', sign(KEYS[0] ?? '', 'upstream-2')],
  ])('one %s is answered 401 and changes nothing', async (_name, headers) => {
    const { call, read } = await submit()
    expect(await call(headers as Record<string, string>)).toBe(401)
    expect(await read()).toMatchObject({ status: 'PROCESSING', version: 2 })
  })

  test('one with ids that disagree is answered 400, whichever of them is signed', async () => {
    const { call, read } = await submit()
    for (const id of ['upstream-1', 'upstream-2'])
      expect(await call(sign(KEYS[0] ?? '', id), { taskId: 'upstream-2' })).toBe(400)
    expect(await read()).toMatchObject({ status: 'PROCESSING', version: 2 })
  })

  test('one genuinely signed for another upstream task is answered 400', async () => {
    const { call, read } = await submit()
    const data = { taskId: 'upstream-2', resultUrls: [RESULT] }
    expect(await call(sign(KEYS[0] ?? '', 'upstream-2'), { data })).toBe(400)
    expect(await read()).toMatchObject({ status: 'PROCESSING', version: 2 })
  })

  test('a stale but genuine one is not believed: it makes us look for ourselves, at once', async () => {
    const { id, call } = await submit()
    const truth = 'https://example.com/truth.png'
    const resultInfoJson = { resultUrls: [{ resultUrl: truth }] }
    upstream.onLookup = json(200, { code: 200, data: { successFlag: 1, resultInfoJson } })
    const following = collect(gateway.follow(FollowTaskDocument, { id }))
    expect(await call(sign(KEYS[0] ?? '', 'upstream-1', 301))).toBe(200)
    expect((await following).at(-1)?.data?.taskUpdated).toMatchObject({
      status: 'SUCCEEDED',
      images: [{ url: truth }],
    })
    const { data } = await gateway.run('HTTP', GetHistoryDocument, { id })
    expect(data?.upscaleTask?.history.map(({ status, source }) => [status, source])).toEqual([
      ['SUBMITTED', 'SUBMIT'],
      ['PROCESSING', 'SUBMIT'],
      ['SUCCEEDED', 'POLL'],
    ])
  })
})

test('the embedded sandbox signs its callbacks with the first key', async () => {
  await using gateway = await startGateway({ UPSTREAM_WEBHOOK_KEYS: KEYS.join(',') })
  const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input: { taskId: 's', imageIndex: 0 } })
  const events = await collect(gateway.follow(FollowTaskDocument, { id: data?.upscaleImage?.task?.id ?? '' }))
  expect(events.at(-1)?.data?.taskUpdated).toMatchObject({ status: 'SUCCEEDED' })
})

test('history tells on whose word a task failed, and with which number', async () => {
  await using gateway = await startGateway()
  const input = { taskId: 'sandbox-callback-501', imageIndex: 0 }
  const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
  const id = data?.upscaleImage?.task?.id ?? ''
  await collect(gateway.follow(FollowTaskDocument, { id }))
  const { data: told } = await gateway.run('WebSocket', GetHistoryDocument, { id })
  const at = expect.stringMatching(/Z$/)
  expect(told?.upscaleTask?.history).toEqual([
    { at, status: 'SUBMITTED', source: 'SUBMIT', upstreamCode: null, note: 'submitted' },
    {
      at,
      status: 'PROCESSING',
      source: 'SUBMIT',
      upstreamCode: null,
      note: 'accepted by the upscale service',
    },
    { at, status: 'FAILED', source: 'CALLBACK', upstreamCode: 501, note: 'the upscale failed' },
  ])
})
