/** What clients see of several engines. */
import { describe, expect, test } from '@jest/globals'
import { createClient } from 'graphql-ws'
import { SignJWT } from 'jose'
import { WebSocket } from 'ws'
import { collect, startGateway, TRANSPORTS, type Result, type Transport } from '../support/gateway.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { waitFor } from '../support/wait-for.ts'

const ALL = ['kie-midjourney', 'kie-jobs', 'midjourney-proxy', 'legnext'] as const
const TASK = 'id engine creditsConsumed status'

interface TaskData {
  readonly id: string
  readonly engine: string
  readonly creditsConsumed: number | null
  readonly status: string
}

interface Payload {
  readonly replayed: boolean
  readonly problem: { readonly code: string } | null
  readonly task: TaskData | null
}

const SUBMIT = `mutation ($input: UpscaleImageInput!) { upscaleImage(input: $input) {
  replayed problem { code } task { ${TASK} } } }`
const SUBMIT_MANY = `mutation ($input: UpscaleImagesInput!) { upscaleImages(input: $input) { results {
  replayed problem { code } task { ${TASK} } } } }`

/** A gateway with these engines at one upstream that a test scripts. */
async function openScene(engines: readonly string[], settings: Record<string, string> = {}) {
  await using opened = new AsyncDisposableStack()
  const upstream = opened.use(await startScriptedUpstream())
  let count = 0
  upstream.onCreate = (response, request) => {
    const id = `upstream-${(count += 1)}`
    const kie = { code: 200, data: { taskId: id } }
    const proxy = { code: 1, description: 'Submitted', result: id }
    const legnext = { job_id: id, status: 'pending' }
    const body = request.path.startsWith('/mj/') ? proxy : request.path.endsWith('/upscale') ? legnext : kie
    json(200, body)(response, request)
  }
  const ENGINES = engines.map((engine) => `${engine}:${upstream.url}`).join()
  const gateway = opened.use(await startGateway({ ENGINES, ...settings }))
  const rest = opened.move()
  return {
    upstream,
    gateway,
    /** The paths of the paid requests. */
    posts: () => upstream.received.filter(({ method }) => method === 'POST').map(({ path }) => path),
    submit: (transport: Transport, input: object) =>
      gateway.run<{ upscaleImage: Payload | null }, { input: object }>(transport, SUBMIT, {
        input: { taskId: 'source', imageIndex: 0, ...input },
      }),
    submitMany: (transport: Transport, input: object) =>
      gateway.run<{ upscaleImages: { results: Payload[] } | null }, { input: object }>(
        transport,
        SUBMIT_MANY,
        {
          input: { taskId: 'source', imageIndices: [0, 1], ...input },
        },
      ),
    async countTasks() {
      const { data } = await gateway.run<{ upscaleTasks: { edges: object[] } }, never>(
        'HTTP',
        '{ upscaleTasks { edges { node { id } } } }',
      )
      return data?.upscaleTasks.edges.length
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

const taskOf = ({ data }: Result<{ upscaleImage: Payload | null }>) => data?.upscaleImage?.task
const faultsOf = ({ errors }: Result<unknown>) =>
  errors?.map(({ message, extensions }) => ({ message, code: extensions.code, field: extensions.field }))

describe.each(TRANSPORTS)('over %s', (transport) => {
  test('the engine that an input names upscales it; without a name the first does', async () => {
    await using scene = await openScene(ALL)
    expect(taskOf(await scene.submit(transport, {}))).toMatchObject({
      engine: 'kie-midjourney',
      creditsConsumed: null,
    })
    for (const engine of ['midjourney-proxy', 'legnext'])
      expect(taskOf(await scene.submit(transport, { engine }))).toMatchObject({
        engine,
        status: 'PROCESSING',
      })
    const { data } = await scene.submitMany(transport, { engine: 'legnext' })
    expect(data?.upscaleImages?.results).toMatchObject([
      { replayed: true, task: { engine: 'legnext' } },
      { replayed: false, task: { engine: 'legnext' } },
    ])
    expect(scene.posts()).toEqual([
      '/api/v1/mj/generateUpscale',
      '/mj/submit/simple-change',
      '/api/v1/upscale',
      '/api/v1/upscale',
    ])
  })

  test('an unknown engine is refused before anything is stored or sent', async () => {
    await using scene = await openScene(['kie-midjourney', 'own=legnext'])
    const fault = {
      message: 'engine must be one of kie-midjourney, own.',
      code: 'BAD_USER_INPUT',
      field: 'engine',
    }
    for (const engine of ['legnext', '', 'KIE-MIDJOURNEY', 'constructor']) {
      expect(faultsOf(await scene.submit(transport, { engine }))).toEqual([fault])
      expect(faultsOf(await scene.submitMany(transport, { engine }))).toEqual([fault])
    }
    expect([await scene.countTasks(), scene.upstream.received]).toEqual([0, []])
  })

  test.each(['kie-jobs', 'legnext', 'midjourney-proxy'])(
    'a watermark is refused for %s before anything is stored or sent',
    async (engine) => {
      await using scene = await openScene(['kie-midjourney', engine])
      const message = expect.stringMatching(`^The engine ${engine} does not support this waterMark: `)
      const fault = { message, code: 'BAD_USER_INPUT', field: 'waterMark' }
      expect(faultsOf(await scene.submit(transport, { engine, waterMark: 'mark' }))).toEqual([fault])
      expect(faultsOf(await scene.submitMany(transport, { engine, waterMark: 'mark' }))).toEqual([fault])
      const plain = { taskId: 'source', imageIndex: 0 }
      const inputs = [plain, { ...plain, imageIndex: 1, waterMark: 'mark' }]
      const many = { taskId: null, imageIndices: null, engine, inputs }
      expect(faultsOf(await scene.submitMany(transport, many))).toEqual([
        { ...fault, field: 'inputs.1.waterMark' },
      ])
      expect([await scene.countTasks(), scene.upstream.received]).toEqual([0, []])
    },
  )

  test('a watermark is refused for a first engine without it, and an empty one is none', async () => {
    await using scene = await openScene(['legnext', 'kie-midjourney'])
    expect(faultsOf(await scene.submit(transport, { waterMark: 'mark' }))).toMatchObject([
      { field: 'waterMark' },
    ])
    expect(taskOf(await scene.submit(transport, { waterMark: '' }))).toMatchObject({ engine: 'legnext' })
    expect(scene.posts()).toEqual(['/api/v1/upscale'])
  })

  test('with ENGINE_FALLBACK the first engine that supports the input is chosen, unless one is named', async () => {
    await using scene = await openScene(['legnext', 'midjourney-proxy', 'kie-midjourney'], {
      ENGINE_FALLBACK: 'on',
    })
    expect(taskOf(await scene.submit(transport, { waterMark: 'mark' }))?.engine).toBe('kie-midjourney')
    expect(taskOf(await scene.submit(transport, {}))?.engine).toBe('legnext')
    const inputs = [
      { taskId: 'other', imageIndex: 0 },
      { taskId: 'other', imageIndex: 1, waterMark: 'mark' },
    ]
    const { data } = await scene.submitMany(transport, { taskId: null, imageIndices: null, inputs })
    expect(data?.upscaleImages?.results.map(({ task }) => task?.engine)).toEqual([
      'legnext',
      'kie-midjourney',
    ])
    expect(faultsOf(await scene.submit(transport, { waterMark: 'mark', engine: 'legnext' }))).toMatchObject([
      { code: 'BAD_USER_INPUT', field: 'waterMark' },
    ])
  })

  test('the same picture at another engine is another task; the default engine need not be named', async () => {
    await using scene = await openScene(ALL)
    const ids = []
    for (const engine of [null, 'kie-midjourney', 'legnext', 'legnext', undefined]) {
      const answer = await scene.submit(transport, engine === undefined ? {} : { engine })
      ids.push([taskOf(answer)?.id, answer.data?.upscaleImage?.replayed])
    }
    const [first, , third] = ids.map(([id]) => id)
    expect(first).not.toBe(third)
    expect(ids).toEqual([
      [first, false],
      [first, true],
      [third, false],
      [third, true],
      [first, true],
    ])
    expect(scene.posts()).toHaveLength(2)
  })

  test('a task that has moved on is that of the engine that has taken it', async () => {
    await using upstream = await startScriptedUpstream()
    await using scene = await openScene(['kie-midjourney'], {
      ENGINES: `first=kie-midjourney:${upstream.url},second=kie-midjourney:${upstream.url}/second`,
      ENGINE_FALLBACK: 'on',
    })
    upstream.onCreate = (response, request) => {
      const body = request.path.startsWith('/second')
        ? { code: 200, data: { taskId: 'job' } }
        : { code: 505, msg: 'no', data: null }
      json(200, body)(response, request)
    }
    const moved = taskOf(await scene.submit(transport, {}))
    expect(moved).toMatchObject({ engine: 'second', status: 'PROCESSING' })
    for (const changes of [{}, { engine: 'second' }])
      expect((await scene.submit(transport, changes)).data?.upscaleImage).toMatchObject({
        replayed: true,
        task: { id: moved?.id },
      })
    expect((await scene.submit(transport, { engine: 'first' })).data?.upscaleImage).toEqual({
      replayed: false,
      problem: { code: 'FEATURE_DISABLED' },
      task: null,
    })
    expect(upstream.received.filter(({ path }) => path.startsWith('/second'))).toHaveLength(1)
  })

  test('an idempotency key belongs to one engine', async () => {
    await using scene = await openScene(ALL)
    const key = { idempotencyKey: 'key' }
    const first = taskOf(await scene.submit(transport, { ...key, engine: 'legnext' }))
    for (const changes of [{}, { engine: 'kie-midjourney' }, { engine: 'midjourney-proxy' }])
      expect((await scene.submit(transport, { ...key, ...changes })).data?.upscaleImage).toEqual({
        replayed: false,
        problem: { code: 'IDEMPOTENCY_KEY_REUSED' },
        task: null,
      })
    const again = await scene.submit(transport, { ...key, engine: 'legnext' })
    expect(again.data?.upscaleImage).toMatchObject({ replayed: true, task: { id: first?.id } })
    expect(scene.posts()).toHaveLength(1)
  })
})

const SECRET = 'jwt-signing-key-of-the-tests-0123456789'

/** Sends operations as these callers. */
function createCallers(url: string) {
  const toToken = (sub: string, scope: string) =>
    new SignJWT({ sub, scope })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime('5m')
      .sign(new TextEncoder().encode(SECRET))
  return async function ask<Data>(
    transport: Transport,
    caller: string,
    query: string,
  ): Promise<Result<Data>> {
    const token = await toToken(caller, caller === 'operator' ? 'upscale:operate' : 'other')
    const authorization = `Bearer ${token}`
    if (transport === 'HTTP') {
      const headers = { 'content-type': 'application/json', authorization }
      const body = JSON.stringify({ query })
      const response = await fetch(`${url}/graphql`, { method: 'POST', headers, body })
      return (await response.json()) as Result<Data>
    }
    const client = createClient({
      url: `${url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization },
      retryAttempts: 0,
    })
    const [result] = await collect(client.iterate({ query }))
    await client.dispose()
    if (result === undefined) throw new Error('The operation completed without a result')
    return result as Result<Data>
  }
}

interface Service {
  readonly upscaleService: {
    readonly mode: string
    readonly credits: number | null
    readonly rate: object | null
    readonly engines: readonly object[]
    readonly usage: readonly { readonly day: string }[] | null
  }
}

describe('upscaleService.engines', () => {
  const ENGINES =
    '{ upscaleService { mode rate { limit remaining } engines { name mode available rate { limit remaining } } } }'
  const CREDITS = '{ upscaleService { mode credits engines { name credits } } }'

  test.each(TRANSPORTS)(
    'has the rate of each engine; that of the first is the rate: %s',
    async (transport) => {
      await using scene = await openScene(['kie-midjourney', 'midjourney-proxy', 'legnext'], {
        UPSTREAM_RATE_LIMIT: '3/60s',
        ENGINE_RATE_LIMITS: 'legnext=5/60s,midjourney-proxy=0',
      })
      await scene.submit(transport, { engine: 'legnext' })
      await scene.submit(transport, { engine: 'legnext', force: true })
      await scene.submit(transport, {})
      const facts = { mode: 'SANDBOX', available: true }
      expect(await scene.gateway.run(transport, ENGINES)).toEqual({
        data: {
          upscaleService: {
            mode: 'SANDBOX',
            rate: { limit: 3, remaining: 2 },
            engines: [
              { name: 'kie-midjourney', ...facts, rate: { limit: 3, remaining: 2 } },
              { name: 'midjourney-proxy', ...facts, rate: null },
              { name: 'legnext', ...facts, rate: { limit: 5, remaining: 3 } },
            ],
          },
        },
      })
    },
  )

  test.each(TRANSPORTS)('has the credits of each engine, for operators only: %s', async (transport) => {
    await using first = await startScriptedUpstream()
    await using second = await startScriptedUpstream()
    first.onLookup = json(200, { code: 200, data: 77.5 })
    second.onLookup = json(200, { code: 200, data: 12 })
    await using gateway = await startGateway({
      ENGINES: `a=kie-midjourney:${first.url},b=kie-jobs:${second.url},c=midjourney-proxy:${second.url}`,
      AUTH_JWT_SECRET: SECRET,
    })
    const ask = createCallers(gateway.url)
    expect(await ask(transport, 'operator', CREDITS)).toEqual({
      data: {
        upscaleService: {
          mode: 'SANDBOX',
          credits: 77.5,
          engines: [
            { name: 'a', credits: 77.5 },
            { name: 'b', credits: 12 },
            { name: 'c', credits: null },
          ],
        },
      },
    })
    const counts = [first, second].map(({ received }) => received.length)
    expect(counts).toEqual([1, 1])
    const { data, errors } = await ask<Service>(transport, 'alice', CREDITS)
    expect(data?.upscaleService).toEqual({
      mode: 'SANDBOX',
      credits: null,
      engines: ['a', 'b', 'c'].map((name) => ({ name, credits: null })),
    })
    expect(errors?.map(({ path, extensions }) => [path?.join('.'), extensions.code]).sort()).toEqual([
      ['upscaleService.credits', 'FORBIDDEN'],
      ...[0, 1, 2].map((n) => [`upscaleService.engines.${n}.credits`, 'FORBIDDEN']),
    ])
    expect([first, second].map(({ received }) => received.length)).toEqual(counts)
  })
})

const toToday = () => new Date().toISOString().slice(0, 10)

describe('upscaleService.usage', () => {
  const USAGE = '{ upscaleService { mode usage(days: 2) { day owner engine tasks credits } } }'

  test('has what tasks have cost: owners see their own, operators all', async () => {
    await using gateway = await startGateway({
      ENGINES: ALL.join(),
      AUTH_JWT_SECRET: SECRET,
      RESULT_STORE: 'off',
    })
    const ask = createCallers(gateway.url)
    const submit = async (owner: string, engine: string, taskId: string) => {
      const { data } = await ask<{ upscaleImage: Payload }>(
        'HTTP',
        owner,
        `mutation { upscaleImage(input: { taskId: "${taskId}", imageIndex: 0, engine: "${engine}" }) { replayed problem { code } task { ${TASK} } } }`,
      )
      const id = data?.upscaleImage.task?.id ?? ''
      const read = `{ upscaleTask(id: "${id}") { ${TASK} } }`
      let task: TaskData | undefined
      await waitFor(async () => {
        task = (await ask<{ upscaleTask: TaskData }>('HTTP', owner, read)).data?.upscaleTask
        return task?.status === 'SUCCEEDED'
      })
      return task?.creditsConsumed
    }
    const days = [toToday()]
    expect(await submit('alice', 'legnext', 'one')).toBe(20)
    expect(await submit('alice', 'legnext', 'two')).toBe(20)
    expect(await submit('alice', 'kie-midjourney', 'one')).toBeNull()
    expect(await submit('bob', 'kie-jobs', 'one')).toBe(10)
    days.push(toToday())
    const alice = { owner: 'alice', engine: 'legnext', tasks: 2, credits: 40 }
    const bob = { owner: 'bob', engine: 'kie-jobs', tasks: 1, credits: 10 }
    for (const transport of TRANSPORTS) {
      const read = async (caller: string) => {
        const { data } = await ask<Service>(transport, caller, USAGE)
        return data?.upscaleService.usage?.map(({ day, ...usage }) => {
          expect(days).toContain(day)
          return usage
        })
      }
      expect(await read('operator')).toEqual([alice, bob])
      expect(await read('alice')).toEqual([alice])
      expect(await read('bob')).toEqual([bob])
      expect(await read('carol')).toEqual([])
    }
  })

  test.each(TRANSPORTS)('takes 1 to 366 days, and 7 by default: %s', async (transport) => {
    await using gateway = await startGateway()
    const read = (argument: string) =>
      gateway.run<Service, never>(transport, `{ upscaleService { mode usage${argument} { day } } }`)
    for (const argument of ['', '(days: 1)', '(days: 366)'])
      expect((await read(argument)).data?.upscaleService).toEqual({ mode: 'SANDBOX', usage: [] })
    for (const argument of ['(days: 0)', '(days: 367)', '(days: -1)']) {
      const answer = await read(argument)
      expect(answer.data?.upscaleService).toEqual({ mode: 'SANDBOX', usage: null })
      expect(faultsOf(answer)).toEqual([
        { message: 'days must be 1 to 366.', code: 'BAD_USER_INPUT', field: 'days' },
      ])
    }
  })
})
