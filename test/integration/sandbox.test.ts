import { createHash, createHmac } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import sharp from 'sharp'
import { openKeptTasks } from '../../src/sandbox/kept-tasks.ts'
import type { SandboxOptions } from '../../src/sandbox/sandbox.ts'
import { startSandbox } from '../../src/sandbox/standalone.ts'
import { parseSettings } from '../../src/settings.ts'
import { startCallbackReceiver, type CallbackReceiver } from '../support/callback-receiver.ts'
import { startScriptedUpstream, text } from '../support/scripted-upstream.ts'
import { StartError } from '../../src/start-error.ts'
import { openTempDir } from '../support/temp-dir.ts'

/** The vendor's numbers for a failure. */
const CODES = [400, 401, 402, 404, 408, 422, 429, 433, 455, 500, 501, 505]

interface Envelope<Data> {
  readonly code: number
  readonly msg: string
  readonly data: Data
}

type Body = Envelope<{ taskId: string; promptJson: string; resultUrls: string[] }>

interface TaskRecord {
  readonly taskId: string
  readonly paramJson: string
  readonly createTime: string
  readonly completeTime: string | null
  readonly resultInfoJson: { resultUrls: { resultUrl: string }[] } | null
  readonly successFlag: number
  readonly errorCode: number | null
  readonly errorMessage: string | null
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly text: string
}

/** The sandbox on a free port, a receiver of its callbacks, and what one asks of the vendor. */
interface World extends AsyncDisposable {
  readonly url: string
  readonly receiver: CallbackReceiver<Body>
  /** Resolves with the facts of the first warning. */
  readonly warned: Promise<object>
  /** Stops the sandbox, and not the receiver. */
  stop(): Promise<void>
  /** A create request as it is. */
  send(body: object): Promise<Response>
  /** A create request, with the receiver's /hook as callback URL. */
  create(taskId: string, fields?: object): Promise<Answer>
  /** The same, for one that is accepted: resolves to the new task's id. */
  accepted(taskId: string, fields?: object): Promise<string>
  record(id: string): Promise<TaskRecord>
  credit(): Promise<number>
  get(path: string, headers?: Record<string, string>): Promise<Answer>
  /** Resolves when a callback that was due before would have come. */
  settled(): Promise<void>
}

interface Settings extends Omit<Partial<SandboxOptions>, 'images'> {
  readonly images?: string
}

const silent = { info: () => undefined, warn: () => undefined }

const AUTH = { authorization: 'Bearer any-key' }

/** Runs the sandbox with upscales that take 10 ms. */
function openWorld(settings: Settings = {}): Promise<World> {
  return openWorldAsIs({ completeAfterMs: 10, ...settings })
}

async function openWorldAsIs({ images, ...options }: Settings): Promise<World> {
  await using opened = new AsyncDisposableStack()
  const receiver = opened.use(await startCallbackReceiver<Body>())
  const { promise: warned, resolve: warn } = Promise.withResolvers<object>()
  const log = { info: () => undefined, warn: (facts: object) => warn(facts) }
  const address = { host: '127.0.0.1', port: 0, sandboxImages: images ?? null }
  const sandbox = opened.use(await startSandbox(address, log, options))
  const { url } = sandbox

  const send = (body: object) =>
    fetch(`${url}/api/v1/mj/generateUpscale`, {
      method: 'POST',
      headers: { ...AUTH, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  const create = async (taskId: string, fields: object = {}) =>
    toAnswer(await send({ taskId, imageIndex: 0, callBackUrl: `${receiver.url}/hook`, ...fields }))
  const get = async (path: string, headers: Record<string, string> = AUTH) =>
    toAnswer(await fetch(url + path, { headers }))
  const accepted = async (taskId: string, fields?: object) => {
    const answer = await create(taskId, fields)
    expect(answer).toMatchObject({ status: 200, type: expect.stringMatching(/^application\/json/) })
    const { code, msg, data } = parse<{ taskId: string }>(answer)
    expect([code, msg]).toEqual([200, 'success'])
    expect(data.taskId).toMatch(/^\S{1,128}$/)
    return data.taskId
  }
  let fences = 0
  const rest = opened.move()
  return {
    url,
    receiver,
    warned,
    stop: async () => {
      await sandbox[Symbol.asyncDispose]()
    },
    send,
    create,
    accepted,
    async record(id) {
      const answer = parse<TaskRecord>(await get(`/api/v1/mj/record-info?taskId=${id}`))
      expect(answer).toMatchObject({ code: 200, msg: 'success', data: { taskId: id } })
      return answer.data
    },
    async credit() {
      return parse<number>(await get('/api/v1/chat/credit')).data
    },
    get,
    async settled() {
      fences += 1
      // Three callbacks, one after the other, of a task that is due last.
      await accepted('sandbox-duplicate', { callBackUrl: `${receiver.url}/fence-${fences}` })
      await receiver.nth(3, `/fence-${fences}`)
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

async function toAnswer(response: Response): Promise<Answer> {
  const { status, headers } = response
  return { status, type: headers.get('content-type') ?? '', text: await response.text() }
}

function parse<Data>({ text }: Answer): Envelope<Data> {
  return JSON.parse(text) as Envelope<Data>
}

describe('a source task without a script', () => {
  test('is accepted under a new id, succeeds and is called back', async () => {
    await using world = await openWorld()
    const id = await world.accepted('source-1', { imageIndex: 2 })
    expect(id).not.toBe('source-1')

    const { body } = await world.receiver.nth(1)
    expect(body).toEqual({
      code: 200,
      msg: 'success',
      data: { taskId: id, promptJson: expect.any(String), resultUrls: [expect.stringMatching(/^http:/)] },
    })
    expect(JSON.parse(body.data.promptJson)).toBeInstanceOf(Object)
    expect(await world.record(id)).toMatchObject({
      taskId: id,
      taskType: expect.any(String),
      successFlag: 1,
      resultInfoJson: { resultUrls: [{ resultUrl: body.data.resultUrls[0] }] },
      errorCode: null,
      errorMessage: null,
    })
    await world.settled()
    expect(world.receiver.received('/hook')).toHaveLength(1)
  })

  test('has a new id each time', async () => {
    await using world = await openWorld()
    const ids = [await world.accepted('source-1'), await world.accepted('source-1')]
    expect(new Set(ids).size).toBe(2)
  })

  test('need not be called back', async () => {
    await using world = await openWorld()
    const id = await world.accepted('source-1', { callBackUrl: undefined })
    await world.settled()
    expect((await world.record(id)).successFlag).toBe(1)
    expect(world.receiver.received('/hook')).toHaveLength(0)
  })

  test.each([
    ['no source task', { taskId: undefined }],
    ['an empty source task', { taskId: '' }],
    ['no index', { imageIndex: undefined }],
    ['an index of 4', { imageIndex: 4 }],
    ['an index of -1', { imageIndex: -1 }],
    ['a fraction as index', { imageIndex: 0.5 }],
    ['a text as index', { imageIndex: '0' }],
  ])('is refused as invalid with %s', async (_name, fields) => {
    await using world = await openWorld()
    expect(parse(await world.create('source-1', fields))).toMatchObject({ code: 422, data: null })
  })
})

describe('record-info', () => {
  test('says while the task is generating that nothing is there yet, and echoes the request', async () => {
    await using world = await openWorld()
    const id = await world.accepted('sandbox-late-60', { imageIndex: 3, waterMark: 'Ann' })
    const record = await world.record(id)
    expect(record).toMatchObject({
      successFlag: 0,
      completeTime: null,
      resultInfoJson: null,
      errorCode: null,
      errorMessage: null,
    })
    expect(Math.abs(Date.parse(record.createTime) - Date.now())).toBeLessThan(60_000)
    expect(JSON.parse(record.paramJson)).toMatchObject({
      taskId: 'sandbox-late-60',
      imageIndex: 3,
      waterMark: 'Ann',
      callBackUrl: `${world.receiver.url}/hook`,
    })
  })

  test('says when a task was completed', async () => {
    await using world = await openWorld()
    const id = await world.accepted('source-1')
    await world.receiver.nth(1)
    const { createTime, completeTime } = await world.record(id)
    expect(Date.parse(completeTime ?? '')).toBeGreaterThanOrEqual(Date.parse(createTime))
  })

  test('knows the four pictures of a source task whose picture was upscaled', async () => {
    await using world = await openWorld()
    await world.accepted('source-1')
    const { code, data } = parse(await world.get('/api/v1/mj/record-info?taskId=source-1')) as {
      code: number
      data: { successFlag: number; resultInfoJson: { resultUrls: { resultUrl: string }[] } }
    }
    expect([code, data.successFlag]).toEqual([200, 1])
    const urls = data.resultInfoJson.resultUrls.map(({ resultUrl }) => resultUrl)
    expect(new Set(urls).size).toBe(4)
    for (const url of urls) expect((await fetch(url)).headers.get('content-type')).toBe('image/png')
  })

  test.each(['', '?taskId=', `?taskId=${'0'.repeat(32)}`, `?taskId=${'a1'.repeat(16)}`])(
    'does not know a task that was never created (%s)',
    async (query) => {
      await using world = await openWorld()
      await world.accepted('source-1')
      const answer = await world.get(`/api/v1/mj/record-info${query}`)
      expect(parse(answer)).toEqual({ code: 422, msg: 'recordInfo is null', data: null })
    },
  )
})

describe('the credit', () => {
  test('is a number, and falls by what was accepted only', async () => {
    await using world = await openWorld()
    const answer = parse(await world.get('/api/v1/chat/credit'))
    expect(answer).toEqual({ code: 200, msg: 'success', data: expect.any(Number) })
    const before = await world.credit()
    await world.create('sandbox-code-402')
    await world.create('sandbox-http-500')
    expect(await world.credit()).toBe(before)
    await world.accepted('source-1')
    expect(await world.credit()).toBeLessThan(before)
  })
})

describe('a request without a key', () => {
  const PATHS = ['/api/v1/mj/record-info?taskId=x', '/api/v1/chat/credit']
  test.each<[string, Record<string, string>]>([
    ['no header', {}],
    ['an empty key', { authorization: 'Bearer ' }],
    ['another scheme', { authorization: 'Basic any-key' }],
    ['the bare key', { authorization: 'any-key' }],
  ])('is answered with the envelope and code 401: %s', async (_name, headers) => {
    await using world = await openWorld()
    const before = await world.credit()
    for (const path of PATHS)
      expect(parse(await world.get(path, headers))).toEqual({ code: 401, msg: 'Unauthorized', data: null })
    const created = await fetch(`${world.url}/api/v1/mj/generateUpscale`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify({ taskId: 'source-1', imageIndex: 0, callBackUrl: `${world.receiver.url}/hook` }),
    })
    expect(await created.json()).toEqual({ code: 401, msg: 'Unauthorized', data: null })
    expect(await world.credit()).toBe(before)
  })
})

describe('a scripted refusal', () => {
  test.each([...CODES, 418, 999])('sandbox-code-%i comes as the body code of an HTTP 200', async (code) => {
    await using world = await openWorld()
    const before = await world.credit()
    const answer = await world.create(`sandbox-code-${code}`)
    expect(answer.status).toBe(200)
    expect(parse(answer)).toEqual({ code, msg: expect.stringMatching(/./), data: null })
    expect(await world.credit()).toBe(before)
  })

  test.each([...CODES, 403, 502, 503])('sandbox-http-%i comes as HTTP status and body code', async (code) => {
    await using world = await openWorld()
    const before = await world.credit()
    const answer = await world.create(`sandbox-http-${code}`)
    expect(answer).toMatchObject({ status: code, type: expect.stringMatching(/^application\/json/) })
    expect(parse(answer)).toEqual({ code, msg: expect.stringMatching(/./), data: null })
    expect(await world.credit()).toBe(before)
  })

  test.each(['sandbox-code-200', 'sandbox-http-200'])('%s is none', async (source) => {
    await using world = await openWorld()
    const id = await world.accepted(source)
    expect((await world.receiver.nth(1)).body).toMatchObject({ code: 200, data: { taskId: id } })
  })

  test('is never called back', async () => {
    await using world = await openWorld()
    await world.create('sandbox-code-500')
    await world.create('sandbox-http-500')
    await world.create('sandbox-html')
    await world.create('sandbox-html-503')
    await world.create('sandbox-empty-401')
    await world.settled()
    expect(world.receiver.received('/hook')).toEqual([])
  })

  test.each([
    [408, /No result has been returned for over 10 minutes/],
    [433, /Sub-key Usage Exceeds Limit/],
  ])('%i comes with the text that the vendor gives it', async (code, text) => {
    await using world = await openWorld()
    expect(parse(await world.create(`sandbox-code-${code}`)).msg).toMatch(text)
    await world.accepted(`sandbox-callback-${code}`)
    expect((await world.receiver.nth(1)).body.msg).toMatch(text)
  })

  test('sandbox-html is an error page and no envelope, and nothing is accepted', async () => {
    await using world = await openWorld()
    const before = await world.credit()
    const { status, type, text } = await world.create('sandbox-html')
    expect(status).toBeGreaterThanOrEqual(400)
    expect(type).toMatch(/^text\/html/)
    expect(text).toMatch(/^<html>/)
    expect(await world.credit()).toBe(before)
  })

  test.each(['sandbox-code-', 'sandbox-code-x', 'xsandbox-code-500', 'sandbox-code-500x', 'sandbox-lost-1'])(
    '%s is not one',
    async (source) => {
      await using world = await openWorld()
      await world.accepted(source)
      expect((await world.receiver.nth(1)).body.code).toBe(200)
    },
  )
})

describe('a busy source task', () => {
  const codesOf = async (world: World, taskId: string, times: number) => {
    const codes: number[] = []
    for (let n = 0; n < times; n += 1) {
      const answer = await world.create(taskId)
      expect(answer.status).toBe(200)
      codes.push(parse(answer).code)
    }
    return codes
  }

  test('sandbox-busy-<n> is refused n times and accepted once, again and again', async () => {
    await using world = await openWorld()
    const before = await world.credit()
    expect(await codesOf(world, 'sandbox-busy-2', 6)).toEqual([429, 429, 200, 429, 429, 200])
    expect(await world.credit()).toBe(before - 2)
    expect((await world.receiver.nth(1)).body.code).toBe(200)
  })

  test('is counted apart from other source tasks', async () => {
    await using world = await openWorld()
    expect(await codesOf(world, 'sandbox-busy-1', 1)).toEqual([429])
    expect(await codesOf(world, 'sandbox-busy-2', 2)).toEqual([429, 429])
    expect(await codesOf(world, 'sandbox-busy-0', 2)).toEqual([200, 200])
    expect(await codesOf(world, 'sandbox-busy-1', 1)).toEqual([200])
    expect(await codesOf(world, 'sandbox-busy-2', 1)).toEqual([200])
  })

  test('is forgotten after 1,000 others were refused, and not before', async () => {
    await using world = await openWorld()
    await codesOf(world, 'sandbox-busy-1', 1)
    for (let n = 2; n <= 1_000; n += 1) await codesOf(world, `sandbox-busy-${n}`, 1)
    expect(await codesOf(world, 'sandbox-busy-1', 2)).toEqual([200, 429])
    await codesOf(world, 'sandbox-busy-1001', 1)
    expect(await codesOf(world, 'sandbox-busy-3', 3)).toEqual([429, 429, 200])
    expect(await codesOf(world, 'sandbox-busy-2', 2)).toEqual([429, 429])
  })
})

describe('the limit of the account', () => {
  test('refuses submits beyond it in any interval with 429, and says in Retry-After when one is free', async () => {
    let now = 5_000
    await using world = await openWorld({ rateLimit: { limit: 2, perMs: 10_000 }, elapsed: () => now })
    const before = await world.credit()
    const submitAt = async (ms: number) => {
      now = ms
      const response = await world.send({ taskId: 'source-1', imageIndex: 0 })
      const { code } = (await response.json()) as { code: number }
      return [response.status, code, response.headers.get('retry-after')]
    }
    expect(await submitAt(5_000)).toEqual([200, 200, null])
    expect(await submitAt(9_000)).toEqual([200, 200, null])
    expect(await submitAt(9_001)).toEqual([429, 429, '6'])
    expect(await submitAt(14_999)).toEqual([429, 429, '1'])
    // The refused submits do not count.
    expect(await submitAt(15_000)).toEqual([200, 200, null])
    expect(await submitAt(15_000)).toEqual([429, 429, '4'])
    expect(await submitAt(19_000)).toEqual([200, 200, null])
    expect(await submitAt(60_000)).toEqual([200, 200, null])
    expect(await world.credit()).toBe(before - 5)
  })

  test('counts what a scenario refuses, and not what the limit itself refuses', async () => {
    let now = 0
    await using world = await openWorld({ rateLimit: { limit: 2, perMs: 1_000 }, elapsed: () => now })
    expect(parse(await world.create('sandbox-code-402')).code).toBe(402)
    expect(parse(await world.create('sandbox-busy-1')).code).toBe(429)
    // Beyond the limit, before its scenario: sandbox-busy-1 is not accepted.
    expect((await world.create('sandbox-busy-1')).status).toBe(429)
    now = 1_000
    await world.accepted('sandbox-busy-1')
  })

  test('counts submits only', async () => {
    await using world = await openWorld({ rateLimit: { limit: 1, perMs: 600_000 } })
    await world.credit()
    await world.credit()
    const id = await world.accepted('source-1')
    await world.record(id)
    expect((await world.create('source-1')).status).toBe(429)
    expect((await world.record(id)).taskId).toBe(id)
  })

  test('is SANDBOX_RATE_LIMIT of the sandbox alone', async () => {
    const settings = parseSettings({ SANDBOX_RATE_LIMIT: '1/600s', DATABASE_URL: 'file::memory:', PORT: '0' })
    const { host, port, sandboxImages, sandboxRateLimit } = settings
    const address = { host, port, sandboxImages, sandboxRateLimit }
    await using sandbox = await startSandbox(address, silent)
    const submit = async () => {
      const response = await fetch(`${sandbox.url}/api/v1/mj/generateUpscale`, {
        method: 'POST',
        headers: { ...AUTH, 'content-type': 'application/json' },
        body: JSON.stringify({ taskId: 'source-1', imageIndex: 0 }),
      })
      return [response.status, response.headers.get('retry-after')]
    }
    expect([await submit(), await submit()]).toEqual([
      [200, null],
      [429, expect.stringMatching(/^(599|600)$/)],
    ])
  })
})

describe('a scripted answer of a proxy', () => {
  test.each([200, 500, 502, 504, 520, 524])(
    'with HTTP %i hides an answer of acceptance: the task completes by callback',
    async (status) => {
      await using world = await openWorld()
      const before = await world.credit()
      const page = await world.create(`sandbox-html-${status}`)
      expect(page).toMatchObject({ status, type: expect.stringMatching(/^text\/html/) })
      expect(page.text).toMatch(/^<html>/)
      const empty = await world.create(`sandbox-empty-${status}`)
      expect(empty).toMatchObject({ status, text: '' })
      expect(await world.credit()).toBe(before - 2)
      for (const n of [1, 2]) expect((await world.receiver.nth(n)).body.code).toBe(200)
    },
  )

  test.each([401, 403, 404, 405, 413, 415, 429, 503, 511, 521, 522, 523, 525, 526, 530])(
    'with HTTP %i proves that nothing was accepted',
    async (status) => {
      await using world = await openWorld()
      const before = await world.credit()
      expect(await world.create(`sandbox-html-${status}`)).toMatchObject({
        status,
        text: expect.stringMatching(/^<html>/),
      })
      expect(await world.create(`sandbox-empty-${status}`)).toMatchObject({ status, text: '' })
      expect(await world.credit()).toBe(before)
    },
  )

  test.each([429, 503])('with HTTP %i says when to come again', async (status) => {
    await using world = await openWorld()
    const response = await world.send({ taskId: `sandbox-html-${status}`, imageIndex: 0 })
    expect(response.headers.get('retry-after')).toBe('20')
  })

  test('sandbox-empty is HTTP 200 without a body, sandbox-no-id an envelope without a task id: both were accepted', async () => {
    await using world = await openWorld()
    expect(await world.create('sandbox-empty')).toMatchObject({ status: 200, text: '' })
    expect((await world.receiver.nth(1)).body.code).toBe(200)
    expect(parse(await world.create('sandbox-no-id'))).toEqual({ code: 200, msg: 'success', data: {} })
    expect((await world.receiver.nth(2)).body.code).toBe(200)
  })
})

describe('a scripted failure after acceptance', () => {
  test.each([...CODES, 999])('sandbox-callback-%i is called back with it and recorded', async (code) => {
    await using world = await openWorld()
    const id = await world.accepted(`sandbox-callback-${code}`)
    const { body } = await world.receiver.nth(1)
    expect(body).toMatchObject({ code, data: { taskId: id, resultUrls: [] } })
    const record = await world.record(id)
    expect(record).toMatchObject({
      errorCode: code,
      errorMessage: expect.stringMatching(/./),
      resultInfoJson: null,
      completeTime: expect.any(String),
    })
    expect([2, 3]).toContain(record.successFlag)
  })

  test('is recorded with either of the two flags that mean failure', async () => {
    await using world = await openWorld()
    const flags = []
    for (const code of [500, 501]) {
      const id = await world.accepted(`sandbox-callback-${code}`)
      await world.receiver.nth(flags.length + 1)
      flags.push((await world.record(id)).successFlag)
    }
    expect(flags).toEqual([2, 3])
  })

  test('sandbox-callback-200 is none', async () => {
    await using world = await openWorld()
    const id = await world.accepted('sandbox-callback-200')
    expect((await world.receiver.nth(1)).body.code).toBe(200)
    expect(await world.record(id)).toMatchObject({ successFlag: 1, errorCode: null })
  })
})

describe('a scripted callback', () => {
  test('sandbox-lost never comes, although the task succeeds', async () => {
    await using world = await openWorld()
    const id = await world.accepted('sandbox-lost')
    await world.settled()
    expect(await world.record(id)).toMatchObject({
      successFlag: 1,
      resultInfoJson: { resultUrls: [{ resultUrl: expect.any(String) }] },
    })
    expect(world.receiver.received('/hook')).toEqual([])
  })

  test('sandbox-duplicate comes three times with the same news', async () => {
    await using world = await openWorld()
    const id = await world.accepted('sandbox-duplicate')
    await world.receiver.nth(3)
    await world.settled()
    const bodies = world.receiver.received('/hook').map(({ body }) => body)
    expect(bodies).toHaveLength(3)
    for (const body of bodies) {
      expect(body).toMatchObject({ code: 200, data: { taskId: id } })
      expect(body).toEqual(bodies[0])
    }
  })

  test('sandbox-late-<s> comes after so many seconds; one without a script after about two', async () => {
    await using world = await openWorldAsIs({})
    const hooks = (name: string) => ({ callBackUrl: `${world.receiver.url}/${name}` })
    const start = performance.now()
    const arrival = async (path: string) => {
      await world.receiver.nth(1, path)
      return performance.now() - start
    }
    const arrivals = Promise.all(['/now', '/late', '/plain'].map(arrival))
    const plain = await world.accepted('source-1', hooks('plain'))
    await world.accepted('sandbox-late-0', hooks('now'))
    const late = await world.accepted('sandbox-late-1', hooks('late'))
    const [nowMs = 0, lateMs = 0, plainMs = 0] = await arrivals
    expect([(await world.record(plain)).successFlag, (await world.record(late)).successFlag]).toEqual([1, 1])
    expect(nowMs).toBeLessThan(lateMs)
    expect(lateMs).toBeGreaterThanOrEqual(990)
    expect(plainMs).toBeGreaterThanOrEqual(1_990)
  })

  test('sandbox-early comes, and is answered, before the create request is', async () => {
    await using world = await openWorld()
    const release = world.receiver.hold()
    let answered = false
    const creating = world.accepted('sandbox-early').finally(() => (answered = true))
    const { body } = await world.receiver.nth(1)
    // An answer sent before the callback would be here by the time that another request is answered.
    expect((await world.record(body.data.taskId)).successFlag).toBe(1)
    expect(answered).toBe(false)

    release()
    expect(await creating).toBe(body.data.taskId)
    expect(body).toMatchObject({ code: 200, data: { resultUrls: [expect.any(String)] } })
    await world.settled()
    expect(world.receiver.received('/hook')).toHaveLength(1)
  })

  test('that nobody takes is logged, and the result stays', async () => {
    await using world = await openWorld()
    // Where the sandbox itself has nothing to answer with but 404.
    const id = await world.accepted('source-1', { callBackUrl: `${world.url}/nowhere` })
    expect(await world.warned).toMatchObject({ upstreamTaskId: id })
    expect((await world.record(id)).successFlag).toBe(1)
  })
})

describe('a scripted loss of the answer', () => {
  test('sandbox-hang accepts and never answers; it is called back once the client has given up', async () => {
    await using world = await openWorld()
    const before = await world.credit()
    const request = httpRequest(`${world.url}/api/v1/mj/generateUpscale`, {
      method: 'POST',
      agent: false,
      headers: { ...AUTH, 'content-type': 'application/json' },
    })
    let answered = false
    request.on('response', () => (answered = true)).on('error', () => undefined)
    request.end(
      JSON.stringify({ taskId: 'sandbox-hang', imageIndex: 1, callBackUrl: `${world.receiver.url}/hook` }),
    )
    await until(async () => (await world.credit()) < before)
    expect(answered).toBe(false)

    request.destroy()
    const { body } = await world.receiver.nth(1)
    expect(body).toMatchObject({ code: 200, data: { resultUrls: [expect.any(String)] } })
    expect((await world.record(body.data.taskId)).successFlag).toBe(1)
    expect(answered).toBe(false)
  })

  test('sandbox-reset accepts and cuts the connection', async () => {
    await using world = await openWorld()
    const before = await world.credit()
    await expect(world.create('sandbox-reset')).rejects.toThrow()
    const { body } = await world.receiver.nth(1)
    expect(body).toMatchObject({ code: 200, data: { resultUrls: [expect.any(String)] } })
    expect((await world.record(body.data.taskId)).successFlag).toBe(1)
    expect(await world.credit()).toBe(before - 1)
    await world.settled()
    expect(world.receiver.received('/hook')).toHaveLength(1)
  })
})

describe('the end of the sandbox', () => {
  test('is the end of its callbacks, also of those whose client was still waiting', async () => {
    await using world = await openWorld()
    await using other = await openWorld()
    await world.accepted('sandbox-late-5')
    const before = await world.credit()
    const hanging = world.create('sandbox-hang').catch(() => 'cut')
    await until(async () => (await world.credit()) < before)

    await world.stop()
    expect(await hanging).toBe('cut')
    // Due after either of the two.
    await other.accepted('sandbox-late-5')
    await other.receiver.nth(1)
    await other.settled()
    expect(world.receiver.received('/hook')).toEqual([])
  })
})

describe('a sandbox that starts again', () => {
  const start = async (
    dir: string,
    receiver: CallbackReceiver<Body>,
    port = 0,
    options: Partial<SandboxOptions> = {},
  ) => {
    const address = { host: '127.0.0.1', port, sandboxImages: null }
    const database = { kind: 'sqlite' as const, file: `${dir}/data/test.db` }
    const sandbox = await startSandbox({ ...address, database }, silent, options)
    const ask = async <Data>(path: string, body?: object) => {
      const response = await fetch(`${sandbox.url}/api/v1/${path}`, {
        headers: { ...AUTH, 'content-type': 'application/json' },
        ...(body && { method: 'POST', body: JSON.stringify(body) }),
      })
      return ((await response.json()) as Envelope<Data>).data
    }
    return {
      ...sandbox,
      port: Number(new URL(sandbox.url).port),
      record: (id: string) => ask<TaskRecord>(`mj/record-info?taskId=${id}`),
      credit: () => ask<number>('chat/credit'),
      async accepted(taskId: string) {
        const fields = { taskId, imageIndex: 0, waterMark: 'Ann', callBackUrl: `${receiver.url}/hook` }
        return (await ask<{ taskId: string }>('mj/generateUpscale', fields)).taskId
      },
    }
  }

  test('completes and calls back what was pending, once, and still knows what was done', async () => {
    await using dir = await openTempDir()
    await using receiver = await startCallbackReceiver<Body>()
    const before = await start(dir.path, receiver, 0, { completeAfterMs: 10 })
    const done = await before.accepted('source-1')
    await receiver.nth(1)
    const known = await before.record(done)
    const [pending, late] = [
      await before.accepted('sandbox-late-1'),
      await before.accepted('sandbox-late-60'),
    ]
    const credit = await before.credit()
    await before[Symbol.asyncDispose]()

    await using after = await start(dir.path, receiver, before.port)
    expect(await after.record(done)).toEqual(known)
    expect(await after.record(late)).toMatchObject({ taskId: late, successFlag: 0 })
    expect(await after.credit()).toBe(credit)
    const { body } = await receiver.nth(2)
    expect(body).toMatchObject({ code: 200, data: { taskId: pending } })
    expect(JSON.parse((await after.record(pending)).paramJson)).toMatchObject({ waterMark: 'Ann' })
    expect(receiver.received('/hook')).toHaveLength(2)
  })

  test('shows what has become due meanwhile, although nothing was called back', async () => {
    await using dir = await openTempDir()
    await using receiver = await startCallbackReceiver<Body>()
    const before = await start(dir.path, receiver)
    const id = await before.accepted('sandbox-late-0')
    await before[Symbol.asyncDispose]()
    await using after = await start(dir.path, receiver, 0, { callbackBase: () => 'http://other.example/' })
    expect(await after.record(id)).toMatchObject({ successFlag: 1, completeTime: expect.any(String) })
  })

  test('remembers 10,000 tasks', async () => {
    await using tasks = await openKeptTasks({ kind: 'memory' }, silent)
    const request = { taskId: 'source', imageIndex: 0, waterMark: null, callBackUrl: null }
    const task = { dialect: 'kie-midjourney', details: {}, request, resultUrl: '' }
    for (let n = 0; n <= 10_000; n += 1) await tasks.add({ ...task, id: String(n), createdAt: n, dueAt: n })
    expect(await tasks.find('0')).toBeUndefined()
    expect(await tasks.find('1')).toMatchObject({ id: '1', createdAt: 1, completedAt: null })
    expect(await tasks.find('10000')).toBeDefined()
    expect(await tasks.count()).toBe(10_001)
  })
})

describe('a sandbox of one gateway', () => {
  test.each(['/api/v1/chat/credit', '/%61pi/v1/chat/credit', '/api/v1/mj/record-info?taskId=x'])(
    'takes its key only: %s',
    async (path) => {
      await using world = await openWorld({ apiKey: 'the-key' })
      for (const authorization of ['Bearer any-key', 'Bearer ', 'Bearer the-key2', 'the-key'])
        expect(parse(await world.get(path, { authorization }))).toEqual({
          code: 401,
          msg: 'Unauthorized',
          data: null,
        })
      expect(parse(await world.get(path, { authorization: 'Bearer the-key' })).code).not.toBe(401)
    },
  )

  test.each([
    ['another host', (url: string) => url.replace('127.0.0.1', 'localhost')],
    ['another path', (url: string) => url.replace('/hook', '/elsewhere')],
    ['a path that leads out', (url: string) => `${url}/../../elsewhere`],
    ['the base as user info', (url: string) => url.replace('http://', 'http://127.0.0.1@')],
    ['no URL', () => 'hook'],
  ])('calls back under its base only: %s', async (_name, change) => {
    await using receiver = await startCallbackReceiver<Body>()
    await using world = await openWorld({ callbackBase: () => `${receiver.url}/hook/` })
    const id = await world.accepted('source-1', { callBackUrl: change(`${receiver.url}/hook/1`) })
    expect(await world.warned).toEqual({ upstreamTaskId: id })
    expect((await world.record(id)).successFlag).toBe(1)
    await world.accepted('source-1', { callBackUrl: `${receiver.url}/hook/2` })
    await receiver.nth(1, '/hook/2')
    expect(receiver.all()).toBe(1)
  })

  test.each([301, 302, 307, 308])('follows no redirect of a callback (%i)', async (status) => {
    await using receiver = await startCallbackReceiver<Body>()
    await using redirecting = await startScriptedUpstream()
    redirecting.onCreate = text(status, '', { location: `${receiver.url}/hook` })
    await using world = await openWorld()
    const id = await world.accepted('source-1', { callBackUrl: `${redirecting.url}/hook` })
    expect(await world.warned).toEqual({ upstreamTaskId: id, status })
    expect(receiver.all()).toBe(0)
  })
})

describe('the URLs of pictures', () => {
  test('name the host that the gateway has asked, also on all addresses', async () => {
    await using receiver = await startCallbackReceiver<Body>()
    await using sandbox = await startSandbox({ host: '0.0.0.0', port: 0, sandboxImages: null }, silent, {
      completeAfterMs: 0,
    })
    const { port } = new URL(sandbox.url)
    const headers = { ...AUTH, 'content-type': 'application/json', host: 'sandbox.example:4010' }
    const request = httpRequest({ port, method: 'POST', path: '/api/v1/mj/generateUpscale', headers })
    request.end(JSON.stringify({ taskId: 'source', imageIndex: 1, callBackUrl: `${receiver.url}/hook` }))
    const { body } = await receiver.nth(1)
    expect(body.data.resultUrls).toEqual(['http://sandbox.example:4010/upscaled/1.png?source=source'])
  })

  test('may be read by pages of CORS_ORIGINS, and of no other origin', async () => {
    const address = { host: '127.0.0.1', port: 0, sandboxImages: null }
    await using sandbox = await startSandbox({ ...address, corsOrigins: ['https://app.example'] }, silent)
    const allowed = async (origin: string, method = 'GET') => {
      const headers = { origin, 'access-control-request-method': 'GET' }
      const response = await fetch(`${sandbox.url}/pictures/0.png?source=s`, { method, headers })
      await response.arrayBuffer()
      return response.headers.get('access-control-allow-origin')
    }
    expect(await allowed('https://app.example')).toBe('https://app.example')
    expect(await allowed('https://app.example', 'OPTIONS')).toBe('https://app.example')
    expect(await allowed('https://evil.example')).not.toBe('https://evil.example')
  })
})

describe('the signature of a callback', () => {
  const KEY = 'test-webhook-hmac-key'
  const sign = (message: string) => createHmac('sha256', KEY).update(message).digest('base64')

  test('is not there without a key', async () => {
    await using world = await openWorld()
    await world.accepted('source-1')
    const { headers } = await world.receiver.nth(1)
    expect(Object.keys(headers).filter((name) => name.startsWith('x-webhook'))).toEqual([])
  })

  test.each(['source-1', 'sandbox-callback-501', 'sandbox-early'])(
    'covers the task id and the second, with the key as it is: %s',
    async (source) => {
      // The vendor's own test vector, for this test's arithmetic.
      expect(sign('2584469c38e43c173dcae9e60663f645.1769670760')).toBe(
        '2VcZWCak7OAr29YZTflxNCH/XIEIQPXo3hIiM2dUOho=',
      )
      await using world = await openWorld({ webhookKey: KEY })
      const id = await world.accepted(source)
      const { headers } = await world.receiver.nth(1)
      const timestamp = String(headers['x-webhook-timestamp'])
      expect(timestamp).toMatch(/^\d{10}$/)
      expect(Math.abs(Number(timestamp) - Date.now() / 1_000)).toBeLessThan(60)
      expect(headers['x-webhook-signature']).toBe(sign(`${id}.${timestamp}`))
    },
  )
})

describe('the pictures', () => {
  test('are four per source task, all different, the same at each request, and others for other tasks', async () => {
    await using world = await openWorld()
    const urls = ['source-1', 'source-2'].flatMap((source) =>
      [0, 1, 2, 3].map((index) => sourceUrl(world, source, index)),
    )
    const first = await Promise.all(urls.map(readPicture))
    const second = await Promise.all(urls.map(readPicture))
    expect(new Set(first.map(({ hash }) => hash)).size).toBe(8)
    expect(second.map(({ hash }) => hash)).toEqual(first.map(({ hash }) => hash))
  })

  test.each([0, 3])('are enlarged exactly four times: index %i', async (imageIndex) => {
    await using world = await openWorld()
    await world.accepted('source-1', { imageIndex })
    const result = await readPicture(await resultUrl(world))
    const source = await readPicture(sourceUrl(world, 'source-1', imageIndex))
    expect([result.width, result.height]).toEqual([source.width * 4, source.height * 4])

    const others = [0, 1, 2, 3].filter((index) => index !== imageIndex)
    const distance = await distanceOf(result, source)
    for (const index of others)
      expect(
        await distanceOf(result, await readPicture(sourceUrl(world, 'source-1', index))),
      ).toBeGreaterThan(4 * distance)
  })

  test('with a watermark have the same size and other pixels', async () => {
    await using world = await openWorld()
    await world.accepted('source-1')
    await world.accepted('source-1', { waterMark: '© Ann' })
    const plain = await readPicture(await resultUrl(world, 1))
    const marked = await readPicture(await resultUrl(world, 2))
    expect([marked.width, marked.height]).toEqual([plain.width, plain.height])
    const changed = marked.pixels.filter((value, index) => value !== plain.pixels[index]).length
    // Something is drawn in, and the picture is still there.
    expect(changed).toBeGreaterThan(1_000)
    expect(changed).toBeLessThan(plain.pixels.length / 2)
  })

  test('with an empty watermark have none', async () => {
    await using world = await openWorld()
    await world.accepted('source-1')
    await world.accepted('source-1', { waterMark: '' })
    const [plain, marked] = [await resultUrl(world, 1), await resultUrl(world, 2)]
    expect((await readPicture(marked)).hash).toBe((await readPicture(plain)).hash)
  })

  test.each([
    ['markup', '</text><b a="1">&amp;\'"'],
    ['other scripts and an emoji', '水印 🖼️ علامة'],
    ['an emoji at every cut', '🖼'.repeat(128)],
    ['256 characters', 'x'.repeat(256)],
    ['characters with a meaning in URLs', 'a/b?c=d&e#f%25+ .'],
    ['control characters', 'a\u0000b\u0001c\nd\u001b\ufffe'],
    ['half a character', 'a\ud800b'],
  ])('may have any watermark: %s', async (_name, waterMark) => {
    await using world = await openWorld()
    await world.accepted('source-1', { waterMark })
    const marked = await readPicture(await resultUrl(world))
    expect([marked.width, marked.height]).toEqual([1_024, 1_024])
  })

  test.each([
    ['32 digits', '2584469c38e43c173dcae9e60663f645'],
    ['characters with a meaning in URLs', 'a/b?c=d&e#f%25+ .'],
    ['other scripts', 'tâche-задача-作業'],
    ['the most characters that one may have', 'x'.repeat(128)],
    ['the most characters, each of several bytes', '作'.repeat(128)],
    ['a dot', '.'],
    ['two dots', '..'],
  ])('are there for any source task id: %s', async (_name, source) => {
    await using world = await openWorld()
    await world.accepted(source, { imageIndex: 3 })
    const result = await readPicture(await resultUrl(world))
    expect([result.width, result.height]).toEqual([1_024, 1_024])
  })

  test('that do not exist are not found', async () => {
    await using world = await openWorld()
    for (const path of ['/pictures/4.png?source=s', '/upscaled/x.png?source=s', '/pictures/0.gif?source=s'])
      expect((await fetch(world.url + path)).status).toBe(404)
  })
})

describe('a folder of pictures', () => {
  const COLOURS = { red: [255, 0, 0], lime: [0, 255, 0], blue: [0, 0, 255], yellow: [255, 255, 0] } as const

  /** Writes a picture of one colour. */
  async function paint(folder: string, file: string, colour: string, width: number, height: number) {
    await sharp({ create: { width, height, channels: 3, background: colour } }).toFile(join(folder, file))
  }

  /** The name of a picture's colour. */
  function colourOf({ pixels, width, height }: ReadPicture): string {
    const middle = (Math.floor(height / 2) * width + Math.floor(width / 2)) * 3
    const near = (channels: readonly number[]) =>
      channels.every((value, channel) => Math.abs(value - (pixels[middle + channel] ?? -99)) < 16)
    return Object.entries(COLOURS).find(([, channels]) => near(channels))?.[0] ?? 'none of them'
  }

  test('is where the pictures come from, whatever else lies in it', async () => {
    await using dir = await openTempDir()
    await paint(dir.path, 'only.jpg', 'blue', 300, 200)
    await writeFile(join(dir.path, 'README.txt'), 'not a picture')
    await using world = await openWorld({ images: dir.path })
    await world.accepted('source-1')
    const source = await readPicture(sourceUrl(world, 'source-1', 0))
    const result = await readPicture(await resultUrl(world))
    expect([colourOf(source), colourOf(result)]).toEqual(['blue', 'blue'])
    expect([result.width, result.height]).toEqual([source.width * 4, source.height * 4])
    expect(result.width / result.height).toBeCloseTo(1.5, 1)
  })

  test('of four or more gives the four indices of a task four pictures', async () => {
    await using dir = await openTempDir()
    const formats = ['png', 'jpeg', 'webp', 'tiff']
    for (const [place, colour] of Object.keys(COLOURS).entries())
      await paint(dir.path, `${colour}.${formats[place] ?? ''}`, colour, 32, 32)
    await using world = await openWorld({ images: dir.path })
    for (const source of ['source-1', 'source-2', 'source-3']) {
      const urls = [0, 1, 2, 3].map((index) => sourceUrl(world, source, index))
      const colours = (await Promise.all(urls.map(readPicture))).map(colourOf)
      expect(colours.sort()).toEqual(Object.keys(COLOURS).sort())
    }
  })

  test.each([
    ['tiny', 1, 1],
    ['smaller than the sandbox’s own', 40, 30],
    ['large', 2_000, 1_000],
    ['a panorama', 1_000, 20],
    ['a column', 20, 1_000],
  ])('may hold pictures of any shape, and marks them: %s', async (_name, width, height) => {
    await using dir = await openTempDir()
    await paint(dir.path, 'only.png', 'red', width, height)
    await using world = await openWorld({ images: dir.path })
    const source = await readPicture(sourceUrl(world, 'source-1', 0))
    await world.accepted('source-1')
    await world.accepted('source-1', { waterMark: '© Ann' })
    const plain = await readPicture(await resultUrl(world, 1))
    const marked = await readPicture(await resultUrl(world, 2))
    for (const result of [plain, marked])
      expect([result.width, result.height]).toEqual([source.width * 4, source.height * 4])
    expect(marked.hash).not.toBe(plain.hash)
  })

  test('without a picture in it keeps the sandbox from starting', async () => {
    await using dir = await openTempDir()
    await writeFile(join(dir.path, 'README.txt'), 'not a picture')
    await expect(openWorld({ images: dir.path })).rejects.toThrow(/^SANDBOX_IMAGES: .* holds no picture/)
  })

  test.each(['missing', 'README.txt'])(
    'that is none keeps the sandbox from starting, in one line that names the setting: %s',
    async (name) => {
      await using dir = await openTempDir()
      await writeFile(join(dir.path, 'README.txt'), 'not a folder')
      const folder = join(dir.path, name)
      const message = await openWorld({ images: folder }).then(
        () => 'it started',
        (error: unknown) => (error instanceof StartError ? error.message : String(error)),
      )
      expect(message).toMatch(/^SANDBOX_IMAGES: cannot read the folder .+$/)
      expect(message).toContain(folder)
    },
  )
})

interface ReadPicture {
  readonly width: number
  readonly height: number
  /** Three bytes each: red, green, blue. */
  readonly pixels: Buffer
  readonly hash: string
}

/** Fetches a picture, which has to be a PNG. */
async function readPicture(url: string): Promise<ReadPicture> {
  const response = await fetch(url)
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'image/png'])
  const file = Buffer.from(await response.arrayBuffer())
  expect((await sharp(file).metadata()).format).toBe('png')
  const { data, info } = await sharp(file).removeAlpha().toColourspace('srgb').raw().toBuffer({
    resolveWithObject: true,
  })
  const hash = createHash('sha256').update(data).digest('hex')
  return { width: info.width, height: info.height, pixels: data, hash }
}

/** How far two pictures are apart, at the size of the second: the mean difference of a colour, 0–255. */
async function distanceOf(large: ReadPicture, small: ReadPicture): Promise<number> {
  const { width, height } = large
  const shrunk = await sharp(large.pixels, { raw: { width, height, channels: 3 } })
    .resize(small.width, small.height)
    .raw()
    .toBuffer()
  const total = small.pixels.reduce((sum, value, index) => sum + Math.abs(value - (shrunk[index] ?? 0)), 0)
  return total / small.pixels.length
}

function sourceUrl({ url }: World, source: string, imageIndex: number): string {
  return `${url}/pictures/${imageIndex}.png?${new URLSearchParams({ source }).toString()}`
}

/** The URL in the n-th callback. */
async function resultUrl({ receiver }: World, n = 1): Promise<string> {
  const { body } = await receiver.nth(n)
  return body.data.resultUrls[0] ?? 'no result'
}

/** Asks until it is so. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (let asked = 0; asked < 1_000; asked += 1) if (await isSo()) return
  throw new Error('It did not come to be so')
}
