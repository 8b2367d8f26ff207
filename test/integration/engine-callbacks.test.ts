/** The callbacks of several engines: which need a signature, and what becomes of one without an engine. */
import { createHmac } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { openTestDatabase } from '../support/database.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { json, startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'

const KEY = 'signing-key'
const RESULT = 'https://example.com/a.png'

/** What the upstream of each adapter answers to a submit, and its callback of success. */
const WIRE = {
  'kie-midjourney': {
    answer: { code: 200, data: { taskId: 'job' } },
    callback: { code: 200, data: { taskId: 'job', resultUrls: [RESULT] } },
    toCallBackUrl: (body: { callBackUrl: string }) => body.callBackUrl,
  },
  'kie-jobs': {
    answer: { code: 200, data: { taskId: 'job' } },
    callback: {
      code: 200,
      data: { taskId: 'job', state: 'success', resultJson: JSON.stringify({ resultUrls: [RESULT] }) },
    },
    toCallBackUrl: (body: { callBackUrl: string }) => body.callBackUrl,
  },
  'midjourney-proxy': {
    answer: { code: 1, description: 'Submitted', result: 'job' },
    callback: { id: 'job', status: 'SUCCESS', imageUrl: RESULT, progress: '100%' },
    toCallBackUrl: (body: { notifyHook: string }) => body.notifyHook,
  },
  legnext: {
    answer: { job_id: 'job', status: 'pending' },
    callback: { job_id: 'job', status: 'completed', output: { image_url: RESULT } },
    toCallBackUrl: (body: { callback: string }) => body.callback,
  },
} as const
type Adapter = keyof typeof WIRE
const ADAPTERS = Object.keys(WIRE) as Adapter[]

/** The record of a source task, which kie-jobs reads before it submits. */
const SOURCE = {
  code: 200,
  data: { successFlag: 1, resultInfoJson: { resultUrls: [RESULT, RESULT, RESULT, RESULT] } },
}

/** Submits a task to an engine of a name of its own; resolves to its id and the URL of its callback. */
async function submit(gateway: Gateway, upstream: ScriptedUpstream, adapter: Adapter) {
  upstream.onLookup = json(200, SOURCE)
  upstream.onCreate = json(200, WIRE[adapter].answer)
  const { data } = await gateway.run<{ upscaleImage: { task: { id: string } | null } }, never>(
    'HTTP',
    'mutation { upscaleImage(input: { taskId: "source", imageIndex: 0, engine: "own" }) { task { id } } }',
  )
  const request = upstream.received.find(({ method }) => method === 'POST')
  const callBackUrl = WIRE[adapter].toCallBackUrl(JSON.parse(request?.body ?? '') as never)
  return { id: data?.upscaleImage.task?.id ?? '', callBackUrl }
}

async function call(url: string, body: object, headers: Record<string, string> = {}): Promise<number> {
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(body), headers })
  return response.status
}

function sign(taskId: string, key: string) {
  const timestamp = String(Math.floor(Date.now() / 1_000))
  const signature = createHmac('sha256', key).update(`${taskId}.${timestamp}`).digest('base64')
  return { 'x-webhook-timestamp': timestamp, 'x-webhook-signature': signature }
}

async function readStatus(gateway: Gateway, id: string): Promise<string | undefined> {
  const { data } = await gateway.run<{ upscaleTask: { status: string } | null }, never>(
    'HTTP',
    `{ upscaleTask(id: "${id}") { status } }`,
  )
  return data?.upscaleTask?.status
}

describe('with UPSTREAM_WEBHOOK_KEYS', () => {
  async function openScene(adapter: Adapter) {
    await using opened = new AsyncDisposableStack()
    const upstream = opened.use(await startScriptedUpstream())
    const ENGINES = `kie-midjourney:${upstream.url},own=${adapter}:${upstream.url}`
    const gateway = opened.use(await startGateway({ ENGINES, UPSTREAM_WEBHOOK_KEYS: KEY }))
    const rest = opened.move()
    const task = await submit(gateway, upstream, adapter)
    return { gateway, ...task, [Symbol.asyncDispose]: () => rest.disposeAsync() }
  }

  test.each(['kie-midjourney', 'kie-jobs'] as const)('callbacks of %s need a signature', async (adapter) => {
    await using scene = await openScene(adapter)
    const { gateway, id, callBackUrl } = scene
    const { callback } = WIRE[adapter]
    for (const headers of [{}, sign('job', 'another-key'), sign('another-job', KEY)])
      expect(await call(callBackUrl, callback, headers)).toBe(401)
    expect(await readStatus(gateway, id)).toBe('PROCESSING')
    expect(await call(callBackUrl, callback, sign('job', KEY))).toBe(200)
    expect(await readStatus(gateway, id)).toBe('SUCCEEDED')
  })

  test.each(['midjourney-proxy', 'legnext'] as const)('callbacks of %s need none', async (adapter) => {
    await using scene = await openScene(adapter)
    const { gateway, id, callBackUrl } = scene
    const { callback } = WIRE[adapter]
    expect(await call(`${callBackUrl}x`, callback)).toBe(403)
    expect(await call(callBackUrl, callback)).toBe(200)
    expect(await readStatus(gateway, id)).toBe('SUCCEEDED')
  })
})

test.each(ADAPTERS)('a callback in the format of another engine than %s is refused', async (adapter) => {
  await using upstream = await startScriptedUpstream()
  await using gateway = await startGateway({ ENGINES: `own=${adapter}:${upstream.url}` })
  const { id, callBackUrl } = await submit(gateway, upstream, adapter)
  for (const other of ['midjourney-proxy', 'legnext'] as const)
    if (other !== adapter) expect(await call(callBackUrl, WIRE[other].callback)).toBe(400)
  expect(await readStatus(gateway, id)).toBe('PROCESSING')
})

test.each(ADAPTERS)(
  'a callback of %s is answered 503 while ENGINES does not name the engine',
  async (adapter) => {
    await using database = await openTestDatabase()
    await using upstream = await startScriptedUpstream()
    const settings = { DATABASE_URL: database.url, UPSTREAM_URL: upstream.url }
    const ENGINES = `own=${adapter}:${upstream.url}`
    await using before = await startGateway({ ...settings, ENGINES })
    const { id, callBackUrl } = await submit(before, upstream, adapter)
    await before[Symbol.asyncDispose]()
    const { pathname } = new URL(callBackUrl)
    const { callback } = WIRE[adapter]
    {
      await using without = await startGateway({ ...settings, UPSTREAM_WEBHOOK_KEYS: KEY })
      expect(await call(without.callbackUrl + pathname, callback)).toBe(503)
      expect(await call(`${without.callbackUrl}${pathname}x`, callback)).toBe(403)
      expect(await readStatus(without, id)).toBe('PROCESSING')
      const line = without
        .log()
        .split('\n')
        .find((each) => each.includes('a callback cannot be read: ENGINES does not name its engine'))
      expect(JSON.parse(line ?? '{}')).toMatchObject({ taskId: id, engine: 'own' })
    }
    await using after = await startGateway({ ...settings, ENGINES })
    expect(await call(after.callbackUrl + pathname, callback)).toBe(200)
    expect(await readStatus(after, id)).toBe('SUCCEEDED')
  },
)
