import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { print } from 'graphql'
import { SignJWT } from 'jose'
import { FollowAllDocument, FollowTasksDocument } from '../generated/operations.ts'
import { playGrids } from '../support/grid.ts'
import { json } from '../support/scripted-upstream.ts'
import { startScriptedRouter, type ScriptedRouter } from '../support/router.ts'
import { openScene } from '../support/scene.ts'
import { openTaskStream, STREAM_TRANSPORTS, type TaskStream } from '../support/task-stream.ts'
import { waitFor } from '../support/wait-for.ts'

const SECRET = 'a secret that is long enough for HS256'
const sign = async (sub: string) =>
  `Bearer ${await new SignJWT({ sub }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h').sign(new TextEncoder().encode(SECRET))}`

/** The task in the next event. */
const taskOf = async (stream: TaskStream) => Object.values((await stream.next())?.data ?? {})[0]
/** The versions in the next events, by task. */
const versionsOf = async (stream: TaskStream, count: number) => {
  const versions: Record<string, number> = {}
  for (let n = 0; n < count; n += 1) {
    const { id = '', version = 0 } = (await taskOf(stream)) ?? {}
    versions[id] = version
  }
  return versions
}

const readToEnd = async (stream: TaskStream) => {
  const payloads = []
  for (let next = await stream.next(); next !== undefined; next = await stream.next()) payloads.push(next)
  return payloads
}

describe.each(STREAM_TRANSPORTS)('over %s', (transport) => {
  let router: ScriptedRouter
  let scene: Awaited<ReturnType<typeof openScene>>
  let alice: string
  beforeEach(async () => {
    router = await startScriptedRouter()
    scene = await openScene({
      AUTH_JWT_SECRET: SECRET,
      SUBSCRIPTION_CALLBACK_URLS: `${router.url}/callback`,
      GUEST_SOCKETS: 'true',
      WATCH_TOKEN_SECRETS: 'a secret for watch tokens that is long enough',
    })
    scene.clock.advance(Date.now() - scene.clock.now())
    alice = await sign('alice')
  })
  afterEach(async () => {
    await scene[Symbol.asyncDispose]()
    await router[Symbol.asyncDispose]()
  })

  /** `authorization`: null for a guest. */
  const open = (query: string, variables = {}, authorization: string | null = alice) =>
    openTaskStream(transport, { url: scene.gateway.url, query, variables, authorization }, router)

  /** Submits the four pictures of a grid; returns the ids of the accepted ones. */
  const upscaleGrid = async () => {
    const response = await fetch(`${scene.gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: alice },
      body: JSON.stringify({
        query:
          'mutation { upscaleImages(input: { taskId: "grid", imageIndices: [0, 1, 2, 3] }) { results { task { id } problem { code } } } }',
      }),
    })
    const { data } = (await response.json()) as {
      data: {
        upscaleImages: { results: { task: { id: string } | null; problem: { code: string } | null }[] }
      }
    }
    const { results } = data.upscaleImages
    expect(results.map(({ problem }) => problem?.code)).toEqual([
      undefined,
      'INSUFFICIENT_CREDITS',
      undefined,
      undefined,
    ])
    return results.flatMap(({ task }) => task?.id ?? [])
  }

  describe('tasksUpdated', () => {
    const follow = (variables: object, authorization?: string | null) =>
      open(print(FollowTasksDocument), variables, authorization)

    test('follows several tasks to their ends, failures and an unknown id among them, then completes', async () => {
      const [a, b, c] = [await scene.submit(alice), await scene.submit(alice), await scene.submit(alice)]
      await using stream = await follow({ ids: [a.id, b.id, 'unknown', c.id, a.id] })
      const first = []
      for (let n = 0; n < 4; n += 1) first.push(await stream.next())
      const [unknown] = first.filter((payload) => payload?.errors !== undefined)
      // A path would make a router end the stream.
      expect(unknown).toEqual({
        data: { tasksUpdated: null },
        errors: [
          {
            message: expect.any(String),
            ...(transport !== 'router callbacks' && { locations: expect.any(Array) }),
            extensions: {
              code: 'TASK_NOT_FOUND',
              taskId: 'unknown',
              retryable: false,
              retryAfterMs: null,
              upstreamCode: null,
              correlationId: expect.any(String),
            },
          },
        ],
      })
      const states = first.flatMap((payload) => payload?.data?.tasksUpdated ?? [])
      expect(new Map(states.map(({ id, status }) => [id, status]))).toEqual(
        new Map([a, b, c].map(({ id }) => [id, 'PROCESSING'])),
      )
      scene.upstream.onLookup = json(500, {})
      await b.fail(500)
      expect(await taskOf(stream)).toMatchObject({
        id: b.id,
        status: 'FAILED',
        problem: { code: 'UPSTREAM_SERVER_ERROR' },
      })
      for (const { id, succeed } of [c, a]) {
        await succeed()
        expect(await taskOf(stream)).toMatchObject({ id, status: 'SUCCEEDED', version: 3 })
      }
      expect(await stream.next()).toBeUndefined()
    })

    test('reports the failure of one picture of a grid as one typed error, and follows the others to their ends', async () => {
      const grids = playGrids(scene.upstream)
      const ids = await upscaleGrid()
      await using stream = await open(
        'subscription ($ids: [ID!]!) { tasksUpdated(ids: $ids) { id version status images { url } } }',
        { ids: [...ids, 'unknown'] },
      )
      const seen = []
      for (let n = 0; n < 4; n += 1) seen.push(await stream.next())
      const rest = readToEnd(stream)
      let isSettled = false
      const settling = grids.settle('grid').finally(() => (isSettled = true))
      // The busy picture is sent again after a second.
      const until = scene.clock.now() + 5_000
      await waitFor(() => {
        if (scene.clock.now() < until) scene.clock.advance(100)
        return isSettled
      })
      await settling
      const payloads = [...seen, ...(await rest)]
      const lastStatus = new Map<string, string>()
      for (const { id, status } of payloads.flatMap((payload) => payload?.data?.tasksUpdated ?? []))
        lastStatus.set(id, status)
      const [succeeded = '', failed = '', queued = ''] = ids
      expect(lastStatus).toEqual(
        new Map([
          [succeeded, 'SUCCEEDED'],
          [failed, 'FAILED'],
          [queued, 'SUCCEEDED'],
        ]),
      )
      const errors = payloads.flatMap((payload) => payload?.errors ?? [])
      expect(errors.map(({ path, extensions: { code, taskId } }) => [path, code, taskId])).toEqual([
        [undefined, 'TASK_NOT_FOUND', 'unknown'],
        [['tasksUpdated', 'images'], 'GENERATION_FAILED', failed],
      ])
    })

    test('omits the first event of each task whose version is known', async () => {
      const [a, b] = [await scene.submit(alice), await scene.submit(alice)]
      await using stream = await follow({ ids: [a.id, b.id], afterVersions: [2, null] })
      expect(await versionsOf(stream, 1)).toEqual({ [b.id]: 2 })
      await a.succeed()
      expect(await versionsOf(stream, 1)).toEqual({ [a.id]: 3 })
      await b.succeed()
      expect(await versionsOf(stream, 1)).toEqual({ [b.id]: 3 })
      expect(await stream.next()).toBeUndefined()
    })

    test.each([
      ['no id', { ids: [] }, 'ids'],
      ['51 ids', { ids: Array.from({ length: 51 }, String) }, 'ids'],
      ['fewer versions than ids', { ids: ['a', 'b'], afterVersions: [1] }, 'afterVersions'],
      ['more versions than ids', { ids: ['a'], afterVersions: [1, 2] }, 'afterVersions'],
    ])('refuses %s', async (_name, variables, field) => {
      await using stream = await follow(variables)
      expect((await stream.next())?.errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT', field } }])
    })

    test('shows no task of another owner', async () => {
      const { id } = await scene.submit(alice)
      await using stream = await follow({ ids: [id] }, await sign('bob'))
      expect((await stream.next())?.errors).toMatchObject([
        { extensions: { code: 'TASK_NOT_FOUND', taskId: id } },
      ])
      expect(await stream.next()).toBeUndefined()
    })

    test('needs a bearer token', async () => {
      await using stream = await follow({ ids: ['a'] }, null)
      expect((await stream.next())?.errors).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED' } }])
    })
  })

  describe('upscaleTasksChanged', () => {
    const follow = (variables: object, authorization?: string | null) =>
      open(print(FollowAllDocument), variables, authorization)

    test('sends the current tasks, then new ones and changes, to their owner only', async () => {
      const bob = await sign('bob')
      const [a, b] = [await scene.submit(alice), await scene.submit(alice)]
      await using hers = await follow({})
      expect([await taskOf(hers), await taskOf(hers)]).toMatchObject([
        { id: b.id, status: 'PROCESSING', version: 2 },
        { id: a.id, status: 'PROCESSING', version: 2 },
      ])
      const his = await scene.submit(bob)
      await his.succeed()
      await a.succeed()
      expect(await taskOf(hers)).toMatchObject({ id: a.id, status: 'SUCCEEDED', version: 3 })
      const c = await scene.submit(alice)
      let latest = await taskOf(hers)
      if (latest?.version === 1) latest = await taskOf(hers)
      expect(latest).toMatchObject({ id: c.id, status: 'PROCESSING', version: 2 })
    })

    test('with a status, sends only the tasks that have it or come to it', async () => {
      const [a, b] = [await scene.submit(alice), await scene.submit(alice)]
      await a.succeed()
      await using stream = await follow({ status: 'SUCCEEDED' })
      expect(await taskOf(stream)).toMatchObject({ id: a.id })
      const c = await scene.submit(alice)
      await b.succeed()
      expect(await taskOf(stream)).toMatchObject({ id: b.id, status: 'SUCCEEDED' })
      await c.succeed()
      expect(await taskOf(stream)).toMatchObject({ id: c.id, status: 'SUCCEEDED' })
    })

    test('needs a bearer token', async () => {
      await using stream = await follow({}, null)
      expect((await stream.next())?.errors).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED' } }])
    })
  })

  test.each([
    ['tasksUpdated', 'subscription ($ids: [ID!]!) { tasksUpdated(ids: $ids) { id } }'],
    ['upscaleTasksChanged', 'subscription { upscaleTasksChanged { id } }'],
  ])('%s counts as one stream, and ends once when the service stops', async (field, query) => {
    const [a, b] = [await scene.submit(alice), await scene.submit(alice)]
    await using stream = await open(query, field === 'tasksUpdated' ? { ids: [a.id, b.id] } : {})
    for (const _task of [a, b]) await stream.next()
    const metrics = await (await fetch(`${scene.gateway.url}/metrics`)).text()
    const counts = [...metrics.matchAll(/^upscale_(?:subscriptions|http_streams)_open (\d+)$/gm)]
    expect(counts.map(([, count]) => Number(count)).sort()).toEqual([0, 1])
    const end = stream.next()
    // An event stream is cut off, and a socket is closed, so that the client goes elsewhere.
    const expected =
      transport === 'router callbacks'
        ? expect(end).resolves.toMatchObject({
            data: { [field]: null },
            errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE', retryable: true, taskId: null } }],
          })
        : transport === 'server-sent events'
          ? expect(end).rejects.toThrow('terminated')
          : undefined
    await scene[Symbol.asyncDispose]()
    await expected
    if (transport === 'router callbacks') expect(await stream.next()).toBeUndefined()
  })
})
