import { request } from 'node:http'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { FollowTaskDocument, GetTaskDocument, UpscaleImageDocument } from '../generated/operations.ts'
import { collect, startGateway, type Gateway } from '../support/gateway.ts'
import { json, startScriptedUpstream, text, type ScriptedUpstream } from '../support/scripted-upstream.ts'

const RESULT = 'https://example.com/result.png'

function callback(code: number, changes: object = {}) {
  return {
    code,
    msg: 'x',
    data: { taskId: 'upstream-1', resultUrls: code === 200 ? [RESULT] : [], ...changes },
  }
}

async function post(url: string, body: unknown, headers: Record<string, string> = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: text,
  })
  return { status: response.status, body: await response.json() }
}

describe('the callback handler', () => {
  let upstream: ScriptedUpstream
  let gateway: Gateway
  beforeEach(async () => {
    upstream = await startScriptedUpstream()
    gateway = await startGateway({ UPSTREAM_URL: upstream.url })
  })
  afterEach(async () => {
    await gateway[Symbol.asyncDispose]()
    await upstream[Symbol.asyncDispose]()
  })

  /** Submits a task; says its id and the callback URL that the upstream was given. */
  async function submit(taskId = 'source') {
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input: { taskId, imageIndex: 0 } })
    const { callBackUrl } = JSON.parse(upstream.received.at(-1)?.body ?? '') as { callBackUrl: string }
    return { id: data?.upscaleImage?.task?.id ?? '', callBackUrl }
  }

  async function read(id: string) {
    const { data } = await gateway.run('HTTP', GetTaskDocument, { id })
    return data?.upscaleTask
  }

  test.each([
    ['a numeric task id of 20 digits', '12345678901234567890', ''],
    ['keys that look like prototypes', '"upstream-1"', ',"__proto__":{"a":1},"constructor":{"prototype":{}}'],
  ])('loses no result for %s', async (_name, taskId, more) => {
    upstream.onCreate = text(200, `{"code":200,"data":{"taskId":${taskId}}}`)
    const { id, callBackUrl } = await submit()
    const body = `{"code":200,"msg":"x","data":{"taskId":${taskId},"resultUrls":["${RESULT}"]${more}}${more}}`
    expect((await post(callBackUrl, body)).status).toBe(200)
    expect(await read(id)).toMatchObject({ status: 'SUCCEEDED', images: [{ url: RESULT }] })
  })

  test('logs how many URLs it has dropped, also when none is left', async () => {
    const { callBackUrl } = await submit()
    const resultUrls = ['https://user@cdn.example/a.png']
    expect((await post(callBackUrl, callback(200, { resultUrls }))).status).toBe(200)
    expect(gateway.log()).toMatch(/"dropped":1.*result URLs were dropped/)
  })

  test('answers 200 once the result is committed, and shows it to whoever follows', async () => {
    const { id, callBackUrl } = await submit()
    const following = collect(gateway.follow(FollowTaskDocument, { id }))
    expect(await post(callBackUrl, callback(200))).toEqual({
      status: 200,
      body: { code: 200, msg: 'success' },
    })
    expect(await read(id)).toMatchObject({ status: 'SUCCEEDED', version: 3, images: [{ url: RESULT }] })
    expect((await following).at(-1)?.data?.taskUpdated).toMatchObject({ status: 'SUCCEEDED', version: 3 })
  })

  test('twenty copies at once are all answered 200 and move the version once', async () => {
    const { id, callBackUrl } = await submit()
    const answers = await Promise.all(Array.from({ length: 20 }, () => post(callBackUrl, callback(200))))
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200))
    expect(await read(id)).toMatchObject({ status: 'SUCCEEDED', version: 3 })
  })

  test('a failure that comes after the success is answered 200 and changes nothing', async () => {
    const { id, callBackUrl } = await submit()
    await post(callBackUrl, callback(200))
    expect((await post(callBackUrl, callback(500))).status).toBe(200)
    expect(await read(id)).toMatchObject({ status: 'SUCCEEDED', version: 3, problem: null })
  })

  test('a success that comes after a failure is not thrown away', async () => {
    const { id, callBackUrl } = await submit()
    await post(callBackUrl, callback(500))
    expect(await read(id)).toMatchObject({ status: 'FAILED', version: 3 })
    await post(callBackUrl, callback(200))
    expect(await read(id)).toMatchObject({ status: 'SUCCEEDED', version: 4, problem: null })
  })

  test('a success without a URL settles nothing', async () => {
    const { id, callBackUrl } = await submit()
    expect((await post(callBackUrl, callback(200, { resultUrls: [] }))).status).toBe(200)
    expect(await read(id)).toMatchObject({ status: 'PROCESSING', images: null })
  })

  test.each([
    [
      'a failure takes the precise code from record-info',
      { successFlag: 3, errorCode: 422 },
      'UPSTREAM_VALIDATION_FAILED',
      422,
    ],
    [
      'a failure without a code there is GENERATION_FAILED',
      { successFlag: 2, errorCode: null },
      'GENERATION_FAILED',
      null,
    ],
    [
      'while record-info still says generating, the callback counts',
      { successFlag: 0 },
      'UPSTREAM_SERVER_ERROR',
      500,
    ],
  ])('%s', async (_name, record, code, upstreamCode) => {
    const { id, callBackUrl } = await submit()
    upstream.onLookup = json(200, { code: 200, data: record })
    await post(callBackUrl, callback(500))
    expect(await read(id)).toMatchObject({ status: 'FAILED', problem: { code, upstreamCode } })
    expect(upstream.received.at(-1)?.path).toBe('/api/v1/mj/record-info?taskId=upstream-1')
  })

  test('a failure that record-info knows as a success is one', async () => {
    const { id, callBackUrl } = await submit()
    const resultInfoJson = { resultUrls: [{ resultUrl: RESULT }] }
    upstream.onLookup = json(200, { code: 200, data: { successFlag: 1, resultInfoJson } })
    await post(callBackUrl, callback(500))
    expect(await read(id)).toMatchObject({ status: 'SUCCEEDED', images: [{ url: RESULT }] })
  })

  test('a callback that overtakes the answer to the submit settles the task all the same', async () => {
    upstream.onCreate = (response, { body }) => {
      const { callBackUrl } = JSON.parse(body) as { callBackUrl: string }
      void post(callBackUrl, callback(200)).then(({ status }) => {
        json(
          200,
          { code: 200, data: { taskId: 'upstream-1' } },
          { 'x-callback': String(status) },
        )(response, upstream.received[0] as never)
      })
    }
    const input = { taskId: 'early', imageIndex: 0 }
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
    expect(data?.upscaleImage).toMatchObject({
      task: { status: 'SUCCEEDED', version: 2, images: [{ url: RESULT }] },
      problem: null,
    })
  })

  test('a lost answer leaves the task SUBMITTED, and the callback finds it by our own id', async () => {
    upstream.onCreate = (response) => response.destroy()
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, {
      input: { taskId: 's', imageIndex: 0 },
    })
    expect(data?.upscaleImage).toMatchObject({ task: { status: 'SUBMITTED' }, problem: null })
    expect(upstream.received).toHaveLength(1)
    const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
    await post(callBackUrl, callback(200))
    expect(await read(data?.upscaleImage?.task?.id ?? '')).toMatchObject({ status: 'SUCCEEDED' })
  })

  describe('refuses, and changes nothing:', () => {
    const refusals: [string, number, (url: string) => [url: string, body: unknown]][] = [
      ['what is not JSON', 400, (url) => [url, '{"code":200,']],
      ['an empty body', 400, (url) => [url, '']],
      ['JSON that is no callback', 400, (url) => [url, []]],
      ['a callback without a task id', 400, (url) => [url, { code: 200, data: { resultUrls: [RESULT] } }]],
      ['ids that disagree', 400, (url) => [url, { ...callback(200), taskId: 'another' }]],
      ["another upstream task's id", 400, (url) => [url, callback(200, { taskId: 'upstream-2' })]],
      ['a wrong token', 403, (url) => [`${url.slice(0, -1)}${url.endsWith('A') ? 'B' : 'A'}`, callback(200)]],
      ['an unknown task', 404, (url) => [url.replace(/upscale\/[^/]+/, 'upscale/unknown'), callback(200)]],
      ['a body over 256 KiB', 413, (url) => [url, callback(200, { promptJson: 'x'.repeat(257 * 1024) })]],
    ]
    test.each(refusals)('%s is answered %i', async (_name, status, forge) => {
      const { id, callBackUrl } = await submit()
      const answer = await post(...forge(callBackUrl))
      expect(answer.status).toBe(status)
      expect(answer.body).toMatchObject({
        errors: [{ message: expect.any(String), extensions: { correlationId: expect.any(String) } }],
      })
      expect(await read(id)).toMatchObject({ status: 'PROCESSING', version: 2 })
    })
  })

  test('takes a body of nearly 256 KiB', async () => {
    const { id, callBackUrl } = await submit()
    const body = callback(200, { promptJson: 'x'.repeat(255 * 1024) })
    expect((await post(callBackUrl, body)).status).toBe(200)
    expect(await read(id)).toMatchObject({ status: 'SUCCEEDED' })
  })

  test.each(['text/plain', 'application/json; charset=latin1', 'json', ';', undefined])(
    'takes JSON under any content type: %s',
    async (type) => {
      const { id, callBackUrl } = await submit()
      const status = await new Promise((resolve, reject) => {
        const headers = type === undefined ? {} : { 'content-type': type }
        const sent = request(callBackUrl, { method: 'POST', headers }, (response) => {
          resolve(response.resume().statusCode)
        })
        sent.on('error', reject).end(JSON.stringify(callback(200)))
      })
      expect(status).toBe(200)
      expect(await read(id)).toMatchObject({ status: 'SUCCEEDED' })
    },
  )

  test('keeps the token out of the log and out of the database', async () => {
    const { callBackUrl } = await submit()
    await post(callBackUrl, callback(500))
    await post(callBackUrl, 'nonsense')
    expect(gateway.log()).toContain('a task changed')
    expect(gateway.log()).not.toContain(callBackUrl.split('/').at(-1))
  })
})

test('with CALLBACK_PORT set, callbacks are served there only, and GraphQL only on its own port', async () => {
  await using upstream = await startScriptedUpstream()
  await using gateway = await startGateway({ UPSTREAM_URL: upstream.url, CALLBACK_PORT: '0' })
  expect(gateway.callbackUrl).not.toBe(gateway.url)
  await gateway.run('HTTP', UpscaleImageDocument, { input: { taskId: 'source', imageIndex: 0 } })
  const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
  expect(callBackUrl).toMatch(gateway.callbackUrl)
  expect((await post(callBackUrl.replace(gateway.callbackUrl, gateway.url), callback(200))).status).toBe(404)
  expect((await post(`${gateway.callbackUrl}/graphql`, { query: '{ __typename }' })).status).toBe(404)
  expect((await post(callBackUrl, callback(200))).status).toBe(200)
  for (const url of [gateway.url, gateway.callbackUrl])
    expect((await fetch(`${url}/readyz`)).status).toBe(200)
})

test('a callback that nobody takes leaves no token in the log, in the sandbox either', async () => {
  await using refuser = await startScriptedUpstream()
  const refused = Promise.withResolvers<string>()
  refuser.onCreate = (response, { path }) => {
    response.writeHead(418).end()
    refused.resolve(path)
  }
  await using gateway = await startGateway({ PUBLIC_URL: refuser.url })
  await gateway.run('HTTP', UpscaleImageDocument, { input: { taskId: 'source', imageIndex: 0 } })
  const token = (await refused.promise).split('/').at(-1) ?? ''
  while (!gateway.log().includes('a callback was not accepted')) await new Promise(setImmediate)
  expect(gateway.log()).not.toContain(token)
})
