/**
 * ENGINE_FALLBACK: a task moves on to the next engine when its engine is unavailable, and only if nothing was
 * charged.
 */
import { describe, expect, test } from '@jest/globals'
import { ManualClock } from '../support/clock.ts'
import { startGateway } from '../support/gateway.ts'
import { json, startScriptedUpstream, text, type Answer } from '../support/scripted-upstream.ts'
import { waitFor } from '../support/wait-for.ts'

const refuse = (code: number, httpStatus = 200) => json(httpStatus, { code, msg: 'no', data: null })
const html = (status: number) => text(status, '<html></html>', { 'content-type': 'text/html' })
const accept = json(200, { code: 200, msg: 'success', data: { taskId: 'second-1' } })

interface TaskData {
  readonly id: string
  readonly status: string
  readonly engine: string
  readonly creditsConsumed: number | null
  readonly queue: { readonly position: number } | null
  readonly problem: { readonly code: string; readonly upstreamCode: number | null } | null
  readonly history: readonly { readonly note: string; readonly upstreamCode: number | null }[]
}

interface Payload {
  readonly task: TaskData | null
  readonly problem: { readonly code: string; readonly upstreamCode: number | null } | null
  readonly replayed: boolean
}

const TASK =
  'id status engine creditsConsumed queue { position } problem { code upstreamCode } history { note upstreamCode }'

/** A gateway with two engines, each an upstream that a test scripts. */
async function openScene(settings: Record<string, string> = {}, circuitResetMs = 60, more = '') {
  await using opened = new AsyncDisposableStack()
  const first = opened.use(await startScriptedUpstream())
  const second = opened.use(await startScriptedUpstream())
  second.onCreate = accept
  const clock = new ManualClock()
  const environment = {
    ENGINES: `first=kie-midjourney:${first.url},second=kie-midjourney:${second.url}${more}`,
    ENGINE_FALLBACK: 'on',
    ...settings,
  }
  const gateway = opened.use(await startGateway(environment, { clock, circuitResetMs }))
  const rest = opened.move()
  return {
    first,
    second,
    clock,
    gateway,
    posts: () =>
      [first, second].map(({ received }) => received.filter(({ method }) => method === 'POST').length),
    async submit(input = ''): Promise<Payload> {
      const document = `mutation { upscaleImage(input: { taskId: "source", imageIndex: 0, ${input} }) {
        replayed problem { code upstreamCode } task { ${TASK} } } }`
      const { data, errors } = await gateway.run<{ upscaleImage: Payload }, never>('HTTP', document)
      if (!data) throw new Error(JSON.stringify(errors))
      return data.upscaleImage
    },
    async read(id: string): Promise<TaskData> {
      const { data } = await gateway.run<{ upscaleTask: TaskData }, never>(
        'HTTP',
        `{ upscaleTask(id: "${id}") { ${TASK} } }`,
      )
      if (!data) throw new Error('There is no such task')
      return data.upscaleTask
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

type Scene = Awaited<ReturnType<typeof openScene>>

describe('a task whose engine is unavailable', () => {
  test.each<[string, Answer, number]>([
    ['code 505', refuse(505), 505],
    ['code 505 under its HTTP status', refuse(505, 505), 505],
    ['code 455', refuse(455), 455],
    ['HTTP 404 without an envelope', html(404), 404],
    ['HTTP 404 with an envelope', refuse(404, 404), 404],
    [
      'HTTP 404 with a message about the endpoint',
      json(404, { code: 404, msg: 'No static resource api/v1/mj/generateUpscale.', data: null }),
      404,
    ],
    ['HTTP 521, from a proxy', html(521), 521],
  ])('moves on to the next engine after %s', async (_name, answer, upstreamCode) => {
    await using scene = await openScene()
    scene.first.onCreate = answer
    const { task, problem, replayed } = await scene.submit()
    expect({ problem, replayed }).toEqual({ problem: null, replayed: false })
    expect(task).toMatchObject({ status: 'PROCESSING', engine: 'second', queue: null, problem: null })
    const notes = task?.history.map(({ note }) => note) ?? []
    expect(notes[1]).toMatch(/^first: .*; it is sent to second instead$/)
    expect(task?.history[1]).toMatchObject({ upstreamCode })
    expect(notes.slice(2)).toEqual(['is sent to second', 'accepted by the upscale service'])
    expect(scene.posts()).toEqual([1, 1])
  })

  test('moves on when it cannot be reached, and settles by the callback of the next engine', async () => {
    await using scene = await openScene({
      ENGINES: `first=kie-midjourney:http://127.0.0.1:1,second=kie-midjourney:http://127.0.0.1:2`,
    })
    const { problem } = await scene.submit()
    expect(problem).toEqual({ code: 'UPSTREAM_UNREACHABLE', upstreamCode: null })

    await using other = await openScene()
    await other.first[Symbol.asyncDispose]()
    const { task } = await other.submit()
    expect(task).toMatchObject({ status: 'PROCESSING', engine: 'second' })
    const { callBackUrl } = JSON.parse(other.second.received[0]?.body ?? '') as { callBackUrl: string }
    const body = { code: 200, data: { taskId: 'second-1', resultUrls: ['https://example.com/a.png'] } }
    expect((await fetch(callBackUrl, { method: 'POST', body: JSON.stringify(body) })).status).toBe(200)
    expect(await other.read(task?.id ?? '')).toMatchObject({ status: 'SUCCEEDED', engine: 'second' })
  })

  test('cannot be settled by the callback URL of the engine that has refused it', async () => {
    await using scene = await openScene()
    scene.first.onCreate = refuse(505)
    await scene.submit()
    const { callBackUrl } = JSON.parse(scene.first.received[0]?.body ?? '') as { callBackUrl: string }
    const body = { code: 200, data: { taskId: 'first-1', resultUrls: ['https://example.com/a.png'] } }
    expect((await fetch(callBackUrl, { method: 'POST', body: JSON.stringify(body) })).status).toBe(403)
  })

  test('fails with the refusal of the last engine when all refuse it, each once', async () => {
    await using scene = await openScene()
    scene.first.onCreate = refuse(505)
    scene.second.onCreate = refuse(455)
    expect(await scene.submit()).toMatchObject({
      task: null,
      problem: { code: 'UPSTREAM_MAINTENANCE', upstreamCode: 455 },
    })
    expect(scene.posts()).toEqual([1, 1])
  })

  test('moves on from a replacement that does not know its source task, and fails with the first refusal', async () => {
    await using third = await startScriptedUpstream()
    await using scene = await openScene({}, 60, `,third=kie-midjourney:${third.url}`)
    scene.first.onCreate = refuse(505)
    scene.second.onCreate = refuse(404)
    third.onCreate = refuse(404)
    expect(await scene.submit()).toMatchObject({ problem: { code: 'FEATURE_DISABLED', upstreamCode: 505 } })
    third.onCreate = accept
    expect(await scene.submit()).toMatchObject({ task: { status: 'PROCESSING', engine: 'third' } })
    expect(scene.posts()).toEqual([2, 2])
    expect(third.received).toHaveLength(2)
  })

  test('is one task for its idempotency key, whichever engine has taken it', async () => {
    await using scene = await openScene()
    scene.first.onCreate = refuse(505)
    const { task } = await scene.submit('idempotencyKey: "key"')
    const again = await scene.submit('idempotencyKey: "key"')
    expect(again).toMatchObject({ replayed: true, task: { id: task?.id, engine: 'second' } })
    expect(scene.posts()).toEqual([1, 1])
  })
})

describe('a task stays with its engine', () => {
  const lost: Answer = (response) => response.destroy()
  test.each<[string, Answer, object]>([
    ['a lost answer', lost, { status: 'SUBMITTED' }],
    ['HTTP 500 without an envelope', html(500), { status: 'SUBMITTED' }],
    ['HTTP 502 without an envelope', html(502), { status: 'SUBMITTED' }],
    ['HTTP 200 without a body', text(200, ''), { status: 'SUBMITTED' }],
    ['code 200 without a task id', json(200, { code: 200, data: {} }), { status: 'SUBMITTED' }],
  ])('after an ambiguous answer: %s', async (_name, answer, expected) => {
    await using scene = await openScene()
    scene.first.onCreate = answer
    expect((await scene.submit()).task).toMatchObject({ engine: 'first', ...expected })
    expect(scene.posts()).toEqual([1, 0])
  })

  test.each<[string, Answer, string]>([
    // Some proxies send these two after they have forwarded the request.
    ['HTTP 503 of a proxy', html(503), 'UPSTREAM_MAINTENANCE'],
    ['HTTP 522 of a proxy', html(522), 'UPSTREAM_UNREACHABLE'],
    ['code 404, which is about the source task', refuse(404), 'UPSTREAM_NOT_FOUND'],
    [
      'HTTP 404 about the source task',
      json(404, { code: 404, msg: 'taskId not found', data: null }),
      'UPSTREAM_NOT_FOUND',
    ],
    // A task may have been created.
    ['code 505 with a task id', json(200, { code: 505, data: { taskId: 'first-1' } }), 'FEATURE_DISABLED'],
    // A relay may have forwarded the request.
    ['code 455 in an HTTP 502', refuse(455, 502), 'UPSTREAM_MAINTENANCE'],
    ['code 400', refuse(400), 'UPSTREAM_BAD_REQUEST'],
    ['code 401', refuse(401), 'UPSTREAM_UNAUTHORIZED'],
    ['code 402', refuse(402), 'INSUFFICIENT_CREDITS'],
    ['code 408', refuse(408), 'UPSTREAM_TIMEOUT'],
    ['code 422', refuse(422), 'UPSTREAM_VALIDATION_FAILED'],
    ['code 429', refuse(429), 'UPSTREAM_RATE_LIMITED'],
    ['code 433', refuse(433), 'KEY_QUOTA_EXCEEDED'],
    ['code 500', refuse(500), 'UPSTREAM_SERVER_ERROR'],
    ['code 501', refuse(501), 'GENERATION_FAILED'],
    ['an unknown code', refuse(599), 'UPSTREAM_PROTOCOL_ERROR'],
  ])('after %s', async (_name, answer, code) => {
    await using scene = await openScene()
    scene.first.onCreate = answer
    expect(await scene.submit()).toMatchObject({ task: null, problem: { code } })
    expect(scene.posts()).toEqual([1, 0])
  })

  test('when the caller has named the engine', async () => {
    await using scene = await openScene()
    scene.first.onCreate = refuse(505)
    expect(await scene.submit('engine: "first"')).toMatchObject({ problem: { code: 'FEATURE_DISABLED' } })
    expect(await scene.submit('engine: "second"')).toMatchObject({ task: { engine: 'second' } })
    expect(scene.posts()).toEqual([1, 1])
  })

  test('without ENGINE_FALLBACK', async () => {
    await using scene = await openScene({ ENGINE_FALLBACK: 'off' })
    scene.first.onCreate = refuse(505)
    expect(await scene.submit()).toMatchObject({ problem: { code: 'FEATURE_DISABLED', upstreamCode: 505 } })
    expect(scene.posts()).toEqual([1, 0])
  })

  test("when the next engine's rate is used up, unless it may wait in the queue", async () => {
    await using scene = await openScene({ ENGINE_RATE_LIMITS: 'second=1/10s' })
    scene.first.onCreate = refuse(455)
    expect(await scene.submit('force: true')).toMatchObject({ task: { engine: 'second' } })
    expect(await scene.submit('force: true')).toMatchObject({ problem: { code: 'UPSTREAM_MAINTENANCE' } })
    const { task } = await scene.submit('force: true, queue: true')
    expect(scene.posts()).toEqual([3, 1])
    const id = task?.id ?? ''
    await waitFor(async () => (await scene.read(id)).engine === 'second')
    expect(await scene.read(id)).toMatchObject({ status: 'SUBMITTED', queue: { position: 1 } })
    // In small steps: the limits of replicas run in real time.
    await waitFor(async () => {
      scene.clock.advance(10)
      return (await scene.read(id)).status === 'PROCESSING'
    })
    expect(scene.posts()).toEqual([3, 2])
  })
})

describe('the queue', () => {
  test('sends a task to the next engine, and begins again with the first when all are down for now', async () => {
    await using scene = await openScene()
    scene.first.onCreate = refuse(455)
    scene.second.onCreate = refuse(455)
    const { task } = await scene.submit('queue: true')
    const id = task?.id ?? ''
    await waitFor(async () => (await scene.read(id)).history.length === 5)
    expect(await scene.read(id)).toMatchObject({
      status: 'SUBMITTED',
      engine: 'first',
      queue: { position: 1 },
    })
    expect(scene.posts()).toEqual([1, 1])
    scene.first.onCreate = accept
    await waitFor(async () => {
      scene.clock.advance(1_000)
      return (await scene.read(id)).status === 'PROCESSING'
    })
    expect(await scene.read(id)).toMatchObject({ engine: 'first' })
    expect(scene.posts()).toEqual([2, 1])
  })
})

describe('a task with queue: true', () => {
  test.each([400, 401, 402, 404, 422, 433, 505])(
    'waits for the first engine if the second refuses it with code %i',
    async (code) => {
      await using scene = await openScene()
      scene.first.onCreate = refuse(455)
      scene.second.onCreate = refuse(code)
      const { task } = await scene.submit('queue: true')
      const id = task?.id ?? ''
      await waitFor(async () => (await scene.read(id)).history.length === 5)
      expect(await scene.read(id)).toMatchObject({
        status: 'SUBMITTED',
        engine: 'first',
        queue: { position: 1 },
      })
      scene.first.onCreate = accept
      await waitFor(async () => {
        scene.clock.advance(1_000)
        return (await scene.read(id)).status === 'PROCESSING'
      })
      expect(scene.posts()).toEqual([2, 1])
    },
  )

  test('is not sent again after a refusal that names a task', async () => {
    await using scene = await openScene()
    scene.first.onCreate = json(200, { code: 455, data: { taskId: 'first-1' } })
    expect(await scene.submit('queue: true')).toMatchObject({ problem: { code: 'UPSTREAM_MAINTENANCE' } })
    expect(scene.posts()).toEqual([1, 0])
  })

  test('moves on while its lane pauses, because answers are lost', async () => {
    await using scene = await openScene()
    scene.first.onCreate = (response) => response.destroy()
    const ids: string[] = []
    for (let n = 0; n < 6; n += 1) ids.push((await scene.submit('force: true, queue: true')).task?.id ?? '')
    await waitFor(async () => {
      const tasks = await Promise.all(ids.slice(2).map((id) => scene.read(id)))
      return tasks.every(({ status, engine }) => status === 'PROCESSING' && engine === 'second')
    })
    expect(scene.posts()).toEqual([2, 4])
  })
})

describe('the queue before an engine whose circuit is open', () => {
  test('lets its tasks wait for the next engine, whatever rate the dead one has', async () => {
    await using scene = await openScene({ ENGINE_RATE_LIMITS: 'first=6/100s' }, 60_000)
    scene.first.onCreate = refuse(505)
    const ids: string[] = []
    for (let n = 0; n < 12; n += 1) ids.push((await scene.submit('force: true, queue: true')).task?.id ?? '')
    await waitFor(async () => {
      const tasks = await Promise.all(ids.map((id) => scene.read(id)))
      return tasks.every(({ status, engine }) => status === 'PROCESSING' && engine === 'second')
    })
    expect(scene.posts()).toEqual([5, 12])
  })

  test('keeps a task for which the caller has named the engine', async () => {
    await using scene = await openScene()
    scene.first.onCreate = refuse(455)
    for (let n = 0; n < 5; n += 1) await scene.submit('force: true')
    const { task } = await scene.submit('force: true, queue: true, engine: "first"')
    expect(task).toMatchObject({ status: 'SUBMITTED', engine: 'first' })
    await waitFor(async () => (await scene.read(task?.id ?? '')).history.length > 1)
    expect(await scene.read(task?.id ?? '')).toMatchObject({ status: 'SUBMITTED', engine: 'first' })
  })
})

describe('the same picture', () => {
  test('at another named engine is another task; at the same engine, named or not, it is the same', async () => {
    await using scene = await openScene()
    const { task: first } = await scene.submit('waterMark: "a"')
    const { task: second } = await scene.submit('waterMark: "a", engine: "second"')
    expect([first?.engine, second?.engine]).toEqual(['first', 'second'])
    expect(await scene.submit('waterMark: "a", engine: "first"')).toMatchObject({
      replayed: true,
      task: { id: first?.id },
    })
    expect(await scene.submit('waterMark: "a", engine: "second"')).toMatchObject({
      replayed: true,
      task: { id: second?.id },
    })
    expect(await scene.submit('waterMark: "a"')).toMatchObject({ replayed: true, task: { id: first?.id } })
  })

  test('is not paid for again at the engine to which it has moved', async () => {
    await using scene = await openScene()
    scene.first.onCreate = refuse(505)
    const { task } = await scene.submit('idempotencyKey: "key"')
    expect(await scene.submit('engine: "second"')).toMatchObject({ replayed: true, task: { id: task?.id } })
    expect(await scene.submit('idempotencyKey: "key"')).toMatchObject({ replayed: true })
    expect(await scene.submit('idempotencyKey: "key", engine: "first"')).toMatchObject({
      problem: { code: 'IDEMPOTENCY_KEY_REUSED' },
    })
    expect(scene.posts()).toEqual([1, 1])
  })
})

describe('the circuit breaker of an engine', () => {
  const readEngines = async ({ gateway }: Scene) => {
    const { data } = await gateway.run<{ upscaleService: { engines: object[] } }, never>(
      'HTTP',
      '{ upscaleService { engines { name mode available rate { limit } } } }',
    )
    return data?.upscaleService.engines
  }
  const readCircuit = async ({ gateway }: Scene) => {
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text()
    return metrics
      .split('\n')
      .filter((line) => line.startsWith('upscale_engine_circuit') && line.endsWith(' 1'))
  }

  test('opens after five failures, so that new tasks begin with the next engine, and closes when one is taken', async () => {
    await using scene = await openScene({}, 2_000)
    scene.first.onCreate = refuse(505)
    for (let n = 0; n < 5; n += 1) await scene.submit('force: true')
    expect(scene.posts()).toEqual([5, 5])
    expect(await readEngines(scene)).toEqual([
      { name: 'first', mode: 'SANDBOX', available: false, rate: null },
      { name: 'second', mode: 'SANDBOX', available: true, rate: null },
    ])
    expect(await readCircuit(scene)).toEqual([
      'upscale_engine_circuit{engine="first",state="open"} 1',
      'upscale_engine_circuit{engine="second",state="closed"} 1',
    ])
    scene.first.onCreate = json(200, { code: 200, data: { taskId: 'first-1' } })
    // Half-open after two seconds.
    await waitFor(async () => (await readCircuit(scene))[0]?.includes('half-open') ?? false)
    expect(await scene.submit('force: true')).toMatchObject({ task: { engine: 'first' } })
    expect((await readCircuit(scene))[0]).toContain('"closed"')
  })

  test('lets one task try the engine when it is half-open, and the others move on', async () => {
    await using scene = await openScene()
    scene.first.onCreate = refuse(505)
    for (let n = 0; n < 5; n += 1) await scene.submit('force: true')
    const held = Promise.withResolvers<() => void>()
    scene.first.onCreate = (response) => held.resolve(() => response.destroy())
    await waitFor(async () => (await readCircuit(scene))[0]?.includes('half-open') ?? false)
    const submits = Array.from({ length: 10 }, () => scene.submit('force: true'))
    const lose = await held.promise
    await waitFor(() => scene.posts()[1] === 14)
    lose()
    const engines = (await Promise.all(submits)).map(({ task }) => task?.engine)
    expect(engines.filter((engine) => engine === 'second')).toHaveLength(9)
    expect(scene.posts()).toEqual([6, 14])
  })

  test('stays closed when callers name source tasks that do not exist', async () => {
    await using scene = await openScene()
    scene.first.onCreate = html(404)
    for (let n = 0; n < 6; n += 1) await scene.submit('force: true')
    expect(scene.posts()).toEqual([6, 6])
    expect((await readCircuit(scene))[0]).toContain('"closed"')
  })

  test('lets a task pass whose source task the next engine does not know', async () => {
    await using scene = await openScene({}, 60_000)
    scene.first.onCreate = refuse(505)
    for (let n = 0; n < 5; n += 1) await scene.submit('force: true')
    scene.first.onCreate = json(200, { code: 200, data: { taskId: 'first-1' } })
    scene.second.onCreate = refuse(404)
    expect(await scene.submit('force: true')).toMatchObject({
      task: { status: 'PROCESSING', engine: 'first' },
    })
    expect(scene.posts()).toEqual([6, 6])
  })

  test('lets a task pass that no other engine can take', async () => {
    await using scene = await openScene({ ENGINE_FALLBACK: 'off' })
    scene.first.onCreate = (response) => response.destroy()
    for (let n = 0; n < 5; n += 1) await scene.submit('force: true')
    scene.first.onCreate = accept
    expect(await scene.submit('force: true')).toMatchObject({ task: { status: 'PROCESSING' } })
    expect(await scene.submit('force: true, engine: "first"')).toMatchObject({ task: { engine: 'first' } })
    expect(scene.posts()).toEqual([7, 0])
  })

  test('does not block a single engine, which no other can replace', async () => {
    await using upstream = await startScriptedUpstream()
    upstream.onCreate = refuse(505)
    await using gateway = await startGateway({ UPSTREAM_URL: upstream.url })
    const submit = () =>
      gateway.run(
        'HTTP',
        'mutation { upscaleImage(input: { taskId: "source", imageIndex: 0 }) { problem { code } } }',
      )
    for (let n = 0; n < 6; n += 1) await submit()
    expect(upstream.received).toHaveLength(6)
  })
})
