import { describe, expect, test } from '@jest/globals'
import { parse } from 'graphql'
import { openScene } from '../support/scene.ts'
import { json, type Answer } from '../support/scripted-upstream.ts'
import { TRANSPORTS, type Gateway } from '../support/gateway.ts'
import { waitFor } from '../support/wait-for.ts'

interface Outcome {
  task?: { id: string; status: string; imageIndex: number; queue: { position: number } | null } | null
  problem?: { code: string; taskId: string | null } | null
  replayed?: boolean
}
interface Data {
  upscaleImages: { results: Outcome[] } | null
}

const ALL = `results { replayed task { id status imageIndex queue { position } } problem { code taskId } }`
const upscaleImages = (input: string, selection = ALL) =>
  `mutation { upscaleImages(input: { ${input} }) { ${selection} } }`

/** Refuses the tasks of these sources with these codes, and accepts all others. */
function answerBySource(codes: Record<string, number> = {}): Answer {
  let count = 0
  return (response, request) => {
    count += 1
    const { taskId } = JSON.parse(request.body) as { taskId: string }
    const code = codes[taskId] ?? 200
    json(200, { code, msg: 'answer', data: code === 200 ? { taskId: `upstream-${count}` } : null })(
      response,
      request,
    )
  }
}

async function run(gateway: Gateway, query: string) {
  const { data, errors } = await gateway.run<Data, never>('HTTP', query)
  return { results: data?.upscaleImages?.results ?? null, errors }
}

describe('upscaleImages', () => {
  test.each(TRANSPORTS)('submits each picture, in order, over %s', async (transport) => {
    await using scene = await openScene()
    scene.upstream.onCreate = answerBySource()
    const query = upscaleImages('taskId: "grid", imageIndices: [2, 0, 3, 1]')
    const { data } = await scene.gateway.run<Data, never>(transport, query)
    const results = data?.upscaleImages?.results ?? []
    expect(results.map(({ task, replayed }) => [task?.imageIndex, task?.status, replayed])).toEqual(
      [2, 0, 3, 1].map((index) => [index, 'PROCESSING', false]),
    )
    expect(scene.upstream.received).toHaveLength(4)
  })

  test('gives each picture its own outcome', async () => {
    await using scene = await openScene()
    scene.upstream.onCreate = answerBySource({ poor: 402, busy: 429 })
    const inputs = ['fine', 'poor', 'busy'].map((id) => `{ taskId: "${id}", imageIndex: 0 }`).join(' ')
    const { results, errors } = await run(scene.gateway, upscaleImages(`inputs: [${inputs}]`))
    expect(errors).toBeUndefined()
    expect(results).toEqual([
      { replayed: false, task: expect.objectContaining({ status: 'PROCESSING' }), problem: null },
      { replayed: false, task: null, problem: { code: 'INSUFFICIENT_CREDITS', taskId: expect.any(String) } },
      {
        replayed: false,
        task: expect.objectContaining({ status: 'SUBMITTED', queue: { position: 1 } }),
        problem: null,
      },
    ])
  })

  test('refuses what the upstream takes later, without the queue', async () => {
    await using scene = await openScene()
    scene.upstream.onCreate = answerBySource({ busy: 429 })
    const { results } = await run(
      scene.gateway,
      upscaleImages('taskId: "busy", imageIndices: [0], queue: false'),
    )
    expect(results?.[0]?.problem?.code).toBe('UPSTREAM_RATE_LIMITED')
  })

  test('reports each failure once, as an error on the task, if problem is not selected', async () => {
    await using scene = await openScene()
    scene.upstream.onCreate = answerBySource({ poor: 402, wrong: 422 })
    const inputs = ['poor', 'fine', 'wrong'].map((id) => `{ taskId: "${id}", imageIndex: 0 }`).join(' ')
    const { results, errors } = await run(
      scene.gateway,
      upscaleImages(`inputs: [${inputs}]`, 'results { task { status } }'),
    )
    expect(results).toEqual([{ task: null }, { task: { status: 'PROCESSING' } }, { task: null }])
    expect(errors?.map(({ path, extensions }) => [path, extensions.code])).toEqual([
      [['upscaleImages', 'results', 0, 'task'], 'INSUFFICIENT_CREDITS'],
      [['upscaleImages', 'results', 2, 'task'], 'UPSTREAM_VALIDATION_FAILED'],
    ])
  })

  test.each(['results { replayed }', '__typename'])(
    'reports a failure on the whole if only %s is selected',
    async (selection) => {
      await using scene = await openScene()
      scene.upstream.onCreate = answerBySource({ poor: 402 })
      const { results, errors } = await run(
        scene.gateway,
        upscaleImages('taskId: "poor", imageIndices: [0, 1]', selection),
      )
      expect(results).toBeNull()
      expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['INSUFFICIENT_CREDITS'])
    },
  )

  test('submits the others if one of them is impossible, and reports that one on its task', async () => {
    await using scene = await openScene({ CALLBACK_ALLOW_HOSTS: 'localhost' })
    scene.upstream.onCreate = answerBySource()
    const withUrl = (indices: string, url: number) =>
      upscaleImages(`taskId: "grid", imageIndices: [${indices}], callBackUrl: "http://localhost/${url}"`)
    for (let url = 1; url <= 5; url += 1) await run(scene.gateway, withUrl('1', url))
    const { results, errors } = await run(scene.gateway, withUrl('0, 1, 2', 6))
    expect(results?.map(({ task }) => task?.status)).toEqual(['PROCESSING', undefined, 'PROCESSING'])
    expect(errors?.map(({ path, extensions }) => [path, extensions.code, extensions.field])).toEqual([
      [['upscaleImages', 'results', 1, 'task'], 'BAD_USER_INPUT', 'callBackUrl'],
    ])
  })

  test('pays once for a request that is repeated with its key', async () => {
    await using scene = await openScene()
    scene.upstream.onCreate = answerBySource()
    const query = upscaleImages('taskId: "grid", imageIndices: [0, 1], idempotencyKey: "key", force: true')
    const [first, second] = [await run(scene.gateway, query), await run(scene.gateway, query)]
    expect(second.results?.map(({ replayed }) => replayed)).toEqual([true, true])
    expect(second.results?.map(({ task }) => task?.id)).toEqual(first.results?.map(({ task }) => task?.id))
    const other = upscaleImages('taskId: "grid", imageIndices: [0, 2, 1], idempotencyKey: "key", force: true')
    const { results } = await run(scene.gateway, other)
    expect(results?.map(({ problem }) => problem?.code)).toEqual([
      undefined,
      'IDEMPOTENCY_KEY_REUSED',
      undefined,
    ])
    // A key of upscaleImage is another key.
    const { data } = await scene.gateway.run<{ upscaleImage: Outcome }, never>(
      'HTTP',
      'mutation { upscaleImage(input: { taskId: "grid", imageIndex: 0, idempotencyKey: "key", force: true }) { replayed } }',
    )
    expect(data?.upscaleImage.replayed).toBe(false)
  })

  test('counts each picture in the limit of its owner', async () => {
    await using scene = await openScene({ OWNER_RATE_LIMIT: '3/60s' })
    scene.upstream.onCreate = answerBySource()
    const { results } = await run(scene.gateway, upscaleImages('taskId: "grid", imageIndices: [0, 1, 2, 3]'))
    expect(results?.map(({ problem }) => problem?.code ?? null)).toEqual([null, null, null, 'RATE_LIMITED'])
  })

  describe("with an account's rate of three submits", () => {
    const query = (queue: boolean) =>
      upscaleImages(`taskId: "grid", imageIndices: [0, 1, 2, 3], queue: ${queue}`)
    const readRate = async ({ run }: Gateway) =>
      (
        await run<{ upscaleService: unknown }, never>(
          'HTTP',
          '{ upscaleService { rate { limit remaining } } }',
        )
      ).data?.upscaleService

    test('refuses the fourth picture without the queue', async () => {
      await using scene = await openScene({ UPSTREAM_RATE_LIMIT: '3/600s' })
      scene.upstream.onCreate = answerBySource()
      const { results } = await run(scene.gateway, query(false))
      expect(results?.map(({ task, problem }) => task?.status ?? problem?.code)).toEqual([
        'PROCESSING',
        'PROCESSING',
        'PROCESSING',
        'UPSTREAM_RATE_LIMITED',
      ])
      expect(await readRate(scene.gateway)).toEqual({ rate: { limit: 3, remaining: 0 } })
    })

    test('lets the fourth picture wait with the queue', async () => {
      await using scene = await openScene({ UPSTREAM_RATE_LIMIT: '3/600s' })
      scene.upstream.onCreate = answerBySource()
      const { results } = await run(scene.gateway, query(true))
      const statuses = results?.map(({ task }) => task?.status)
      expect([statuses?.[0], statuses?.[3]]).toEqual(['PROCESSING', 'SUBMITTED'])
      expect(results?.[3]?.task?.queue?.position).toBeGreaterThan(0)
      // The second and the third are sent at once, or later if the queue spreads its tasks: that depends on
      // how many wait when it begins.
      const sent = statuses?.filter((status) => status === 'PROCESSING').length ?? 0
      expect(scene.upstream.received).toHaveLength(sent)
      expect(await readRate(scene.gateway)).toEqual({ rate: { limit: 3, remaining: 3 - sent } })
    })
  })

  test('costs as much as its pictures, whether they are written in the document or in variables', async () => {
    await using scene = await openScene()
    scene.upstream.onCreate = answerBySource()
    const tasks = Array.from({ length: 25 }, (_, alias) => `t${alias}: task { callbacks { url } }`).join(' ')
    const toInputs = (count: number) =>
      Array.from({ length: count }, (_, index) => ({ taskId: `task ${index}`, imageIndex: 0 }))
    const query = `mutation ($inputs: [UpscalePictureInput!]) { upscaleImages(input: { inputs: $inputs }) { results { ${tasks} } } }`
    const submit = async (count: number) => {
      const result = await scene.gateway.run<Data, { inputs: unknown }>('HTTP', query, {
        inputs: toInputs(count),
      })
      return result.errors?.map(({ message }) => message) ?? null
    }
    expect(await submit(6)).toBeNull()
    expect(await submit(7)).toEqual([expect.stringMatching(/^The operation costs 11\d\d; the limit is 1000/)])
    expect(scene.upstream.received).toHaveLength(6)
  })

  test('loses no outcome if another alias of the results reports the failure', async () => {
    await using scene = await openScene()
    scene.upstream.onCreate = answerBySource({ poor: 402 })
    const { data, errors } = await scene.gateway.run<{ upscaleImages: unknown }, never>(
      'HTTP',
      upscaleImages(
        'taskId: "poor", imageIndices: [0]',
        'a: results { problem { code } } b: results { replayed }',
      ),
    )
    expect(errors).toBeUndefined()
    expect(data?.upscaleImages).toEqual({
      a: [{ problem: { code: 'INSUFFICIENT_CREDITS' } }],
      b: [{ replayed: false }],
    })
  })

  test.each([
    ['taskId: "grid"', 'imageIndices'],
    ['taskId: "grid", imageIndices: []', 'imageIndices'],
    ['taskId: "grid", imageIndices: [0, 4]', 'imageIndices'],
    ['taskId: "grid", imageIndices: [0, 0]', 'imageIndices'],
    ['taskId: "grid", imageIndices: [0, 1, 2, 3, 0]', 'imageIndices'],
    ['imageIndices: [0]', 'taskId'],
    ['taskId: " ", imageIndices: [0]', 'taskId'],
    ['inputs: []', 'inputs'],
    ['taskId: "grid", inputs: [{ taskId: "grid", imageIndex: 0 }]', 'inputs'],
    ['inputs: [{ taskId: "grid", imageIndex: 0 }, { taskId: "grid", imageIndex: 0 }]', 'inputs'],
    [
      'inputs: [{ taskId: "grid", imageIndex: 0 }, { taskId: "grid", imageIndex: 0, waterMark: "" }]',
      'inputs',
    ],
    ['inputs: [{ taskId: "grid", imageIndex: 0 }, { taskId: "grid", imageIndex: 5 }]', 'inputs.1.imageIndex'],
    ['taskId: "grid", imageIndices: [0], idempotencyKey: ""', 'idempotencyKey'],
    ['taskId: "grid", imageIndices: [0], callBackUrl: "http://127.0.0.1/"', 'callBackUrl'],
  ])('refuses %s, naming %s, before anything is sent', async (input, field) => {
    await using scene = await openScene()
    const { errors } = await run(scene.gateway, upscaleImages(input))
    expect(errors?.map(({ extensions }) => [extensions.code, extensions.field])).toEqual([
      ['BAD_USER_INPUT', field],
    ])
    expect(scene.upstream.received).toEqual([])
  })
})

interface Place {
  version: number
  status: string
  queue: { position: number; estimatedStartAt: string | null } | null
}

describe('the place in the queue', () => {
  test('is known in the answer to the submit, also when the queue was read shortly before', async () => {
    await using scene = await openScene({ UPSTREAM_RATE_LIMIT: '1/10s' })
    scene.upstream.onCreate = answerBySource()
    const first = await run(scene.gateway, upscaleImages('taskId: "first", imageIndices: [0, 1]'))
    scene.clock.advance(100)
    const second = await run(scene.gateway, upscaleImages('taskId: "second", imageIndices: [0, 1]'))
    const places = [first, second].map(({ results }) => results?.map(({ task }) => task?.queue?.position))
    expect(places).toEqual([
      [undefined, 1],
      [2, 3],
    ])
  })

  /** Four tasks that wait, because the upstream has refused two; the events of a stream of the last one. */
  async function openQueue(selection: string) {
    await using opened = new AsyncDisposableStack()
    const scene = opened.use(await openScene())
    scene.upstream.onCreate = json(200, { code: 429, msg: 'busy' })
    const { results } = await run(scene.gateway, upscaleImages('taskId: "grid", imageIndices: [0, 1, 2, 3]'))
    expect(results?.map(({ task }) => task?.status)).toEqual(Array(4).fill('SUBMITTED'))
    const events: Place[] = []
    const query = parse(`subscription ($id: ID!) { taskUpdated(id: $id) { version status ${selection} } }`)
    const stream = scene.gateway.follow<{ taskUpdated: Place }, { id: string }>(query, {
      id: results?.[3]?.task?.id ?? '',
    })
    const reading = (async () => {
      for await (const { data } of stream) if (data) events.push(data.taskUpdated)
    })()
    opened.defer(async () => {
      await stream.return?.()
      await reading
    })
    await waitFor(() => events.length === 1)
    const rest = opened.move()
    return {
      ...scene,
      events,
      /** Moves the clock until the followed task has been accepted; resolves to how long that took. */
      async acceptAll() {
        scene.upstream.onCreate = answerBySource()
        const before = scene.clock.now()
        await waitFor(() => {
          scene.clock.advance(20)
          return events.at(-1)?.status === 'PROCESSING'
        })
        return scene.clock.now() - before
      },
      [Symbol.asyncDispose]: () => rest.disposeAsync(),
    }
  }

  test('is sent when it changes, without a new version', async () => {
    await using queue = await openQueue('queue { position estimatedStartAt }')
    // After its pause the queue sends one task, and waits for the answer.
    const held = Promise.withResolvers<() => void>()
    queue.upstream.onCreate = (response, request) => {
      held.resolve(() => {
        answerBySource()(response, request)
      })
    }
    await waitFor(() => {
      queue.clock.advance(20)
      return queue.events.at(-1)?.queue?.position === 3
    })
    const release = await held.promise
    release()
    await queue.acceptAll()
    const places = queue.events.map(({ version, queue: place }) => [version, place?.position ?? null])
    expect([places[0], places.at(-1)]).toEqual([
      [1, 4],
      [2, null],
    ])
    expect(places.slice(0, -1).every(([version]) => version === 1)).toBe(true)
  })

  test('is sent at most once a second, and nothing while it stays', async () => {
    await using queue = await openQueue('queue { position }')
    const before = queue.events.length
    // The queue pauses for 10 s.
    for (let second = 0; second < 9; second += 1) {
      queue.clock.advance(1_000)
      await queue.gateway.run('HTTP', '{ upscaleService { mode } }')
    }
    expect(queue.events).toHaveLength(before)
  })

  test('causes no events in a stream that does not select it', async () => {
    await using queue = await openQueue('')
    const tookMs = await queue.acceptAll()
    // The first state, re-assertions every 15 s, and the new state.
    expect(queue.events.length).toBeLessThanOrEqual(2 + Math.ceil(tookMs / 15_000))
  })
})

describe('cancelUpscale', () => {
  const cancel = (id: string, selection = 'status problem { code retryable }') =>
    `mutation { cancelUpscale(id: "${id}") { ${selection} } }`

  test('takes a waiting task out of the queue', async () => {
    await using scene = await openScene({ UPSTREAM_RATE_LIMIT: '1/10s' })
    scene.upstream.onCreate = answerBySource()
    const { results } = await run(scene.gateway, upscaleImages('taskId: "grid", imageIndices: [0, 1]'))
    const [sent, waiting] = results?.map(({ task }) => task?.id ?? '') ?? []
    const { data } = await scene.gateway.run<{ cancelUpscale: unknown }, never>('HTTP', cancel(waiting ?? ''))
    expect(data?.cancelUpscale).toEqual({
      status: 'FAILED',
      problem: { code: 'CANCELLED', retryable: false },
    })
    for (const [id, code] of [
      [sent, 'TOO_LATE_TO_CANCEL'],
      ['unknown', 'TASK_NOT_FOUND'],
    ] as const) {
      const { errors } = await scene.gateway.run('HTTP', cancel(id ?? ''))
      expect(errors?.map(({ extensions }) => extensions.code)).toEqual([code])
    }
  })
})
