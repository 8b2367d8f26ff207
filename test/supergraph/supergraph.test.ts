import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { followTask, toClientOptions } from '../../client/src/index.ts'
import type { Router } from '../support/gateways.ts'
import { json, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { ask, openWorld, sign, submit, type Answer, type World } from '../support/supergraph-world.ts'

const RESULT = 'https://example.com/result.png'
const PROBLEM = 'problem { code message retryable retryAfterMs upstreamCode }'
const SELECTION = `images { url } ${PROBLEM}`

/** The upstream's callback about the task that was submitted last, or at this position. */
async function callBack(upstream: ScriptedUpstream, body: object, position = -1) {
  const submitted = upstream.received.filter(({ method }) => method === 'POST').at(position)
  const { callBackUrl } = JSON.parse(submitted?.body ?? '') as { callBackUrl: string }
  const response = await fetch(callBackUrl, { method: 'POST', body: JSON.stringify(body) })
  expect(response.status).toBe(200)
}

function connect(url: string, authorization: string) {
  const options = toClientOptions({ url, getAuthorization: () => authorization })
  const client = createClient({ ...options, webSocketImpl: WebSocket })
  return { client, [Symbol.asyncDispose]: async () => client.dispose() }
}

/**
 * Follows a task over a WebSocket with these headers in the upgrade request: the codes of the errors in the
 * first event.
 */
async function firstCodes(
  url: string,
  id: string,
  headers: Record<string, string>,
  connectionParams: Record<string, string>,
) {
  class WebSocketWithHeaders extends WebSocket {
    constructor(address: string, protocols: string[]) {
      super(address, protocols, { headers })
    }
  }
  const client = createClient({
    url,
    connectionParams,
    webSocketImpl: WebSocketWithHeaders,
    retryAttempts: 0,
  })
  const events = client.iterate({ query: `subscription { taskUpdated(id: "${id}") { id } }` })
  const { errors = [] } = (await events.next()).value as Answer
  await client.dispose()
  return errors.map(({ extensions }) => extensions?.code)
}

describe.each<Router>([
  { kind: 'Hive Gateway', subscriptions: 'ws' },
  { kind: 'Hive Gateway', subscriptions: 'sse' },
  { kind: 'Hive Gateway, native planner', subscriptions: 'ws' },
  { kind: 'Grafbase', subscriptions: 'ws' },
])('behind $kind, which subscribes by $subscriptions', (router) => {
  const isNative = router.kind === 'Hive Gateway, native planner'
  let world: World
  let alice: string
  beforeAll(async () => {
    alice = await sign('alice')
    world = await openWorld(router)
  }, 120_000)
  afterAll(async () => {
    await world[Symbol.asyncDispose]()
  })
  const succeed = () =>
    callBack(world.upstream, { code: 200, data: { taskId: 'upstream-1', resultUrls: [RESULT] } })
  const fail = async () => {
    world.upstream.onLookup = json(500, {})
    await callBack(world.upstream, { code: 500, msg: 'No.', data: { taskId: 'upstream-1' } })
  }

  test.each([
    ['a success', succeed],
    ['a failure', fail],
  ])(
    'a task is the same sequence of states as for a client that talks to us directly: %s',
    async (_name, settle) => {
      const { payload } = await submit(world.router, alice, 'task { id status }')
      expect(payload?.task?.status).toBe('PROCESSING')
      const id = payload?.task?.id ?? ''
      await using direct = connect(`${world.direct.replace('http', 'ws')}/graphql`, alice)
      await using routed = connect(world.routerSocket, alice)
      const followers = [direct, routed].map(({ client }) => followTask(client, { id, selection: SELECTION }))
      const first = await Promise.all(followers.map((each) => each.next()))
      await settle()
      const rest = await Promise.all(followers.map((each) => Array.fromAsync(each)))
      const [ours = [], theirs] = followers.map((_, index) => [first[index]?.value, ...(rest[index] ?? [])])
      expect(ours).toHaveLength(2)
      expect(theirs).toEqual(ours)
    },
  )

  test('a failure is an error where `problem` is not asked for, with our extensions', async () => {
    const { payload } = await submit(world.router, alice, 'task { id }')
    const id = payload?.task?.id ?? ''
    await fail()
    await using routed = connect(world.routerSocket, alice)
    const query = `subscription { taskUpdated(id: "${id}") { status images { url } } }`
    const events = Array.fromAsync(routed.client.iterate({ query }))
    // See docs/supergraph/hive-gateway.md.
    if (isNative) {
      await expect(events).rejects.toEqual([{ message: 'e.toJSON is not a function' }])
      return
    }
    expect(await events).toMatchObject([
      {
        data: { taskUpdated: { status: 'FAILED', images: null } },
        errors: [
          {
            path: ['taskUpdated', 'images'],
            extensions: { code: 'UPSTREAM_SERVER_ERROR', upstreamCode: 500, retryable: true, taskId: id },
          },
        ],
      },
    ])
  })

  test('the caller’s authorization is carried on, from headers and from connection_init: a stranger sees nothing', async () => {
    const { payload } = await submit(world.router, alice, 'task { id }')
    const id = payload?.task?.id ?? ''
    const bob = await sign('bob')
    const query = `{ upscaleTask(id: "${id}") { id } }`
    expect((await ask(world.router, query, alice)).data).toEqual({ upscaleTask: { id } })
    expect((await ask(world.router, query, bob)).data).toEqual({ upscaleTask: null })
    await using stranger = connect(world.routerSocket, bob)
    await expect(followTask(stranger.client, { id }).next()).rejects.toMatchObject({ code: 'TASK_NOT_FOUND' })
    const response = await fetch(`${world.router}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream', authorization: alice },
      body: JSON.stringify({ query: `subscription { taskUpdated(id: "${id}") { version } }` }),
    })
    for await (const chunk of response.body ?? []) {
      const text = Buffer.from(chunk).toString()
      if (!text.includes('data:')) continue
      expect(text).toContain('{"data":{"taskUpdated":{"version":2}}}')
      break
    }
  })

  test('a credential arrives from the header of the upgrade request, from connection_init, and from both at once', async () => {
    const { payload } = await submit(world.router, alice, 'task { id }')
    const follow = (headers: Record<string, string>, connectionParams: Record<string, string>) =>
      firstCodes(world.routerSocket, payload?.task?.id ?? '', headers, connectionParams)
    const bob = await sign('bob')
    expect(await follow({ authorization: alice }, {})).toEqual([])
    expect(await follow({}, { Authorization: alice })).toEqual([])
    expect(await follow({}, { authorization: alice })).toEqual([])
    expect(await follow({ authorization: alice }, { Authorization: alice })).toEqual([])
    // connection_init takes precedence, as with the gateway itself.
    expect(await follow({ authorization: bob }, { Authorization: alice })).toEqual([])
    expect(await follow({ authorization: alice }, { Authorization: bob })).toEqual(['TASK_NOT_FOUND'])
  })

  test('a stream that ends with an error has its code', async () => {
    await using routed = connect(world.routerSocket, alice)
    const run = (query: string) =>
      Array.fromAsync(routed.client.iterate({ query: `subscription { ${query} }` }))
    expect(await run('taskUpdated(id: "unknown") { id }')).toMatchObject([
      {
        data: { taskUpdated: null },
        errors: [{ extensions: { code: 'TASK_NOT_FOUND', taskId: 'unknown' } }],
      },
    ])
    expect(await run('tasksUpdated(ids: ["unknown"]) { id }')).toMatchObject([
      {
        data: { tasksUpdated: null },
        errors: [{ extensions: { code: 'TASK_NOT_FOUND', taskId: 'unknown' } }],
      },
    ])
    expect(await run('tasksUpdated(ids: []) { id }').catch((errors: unknown) => [{ errors }])).toMatchObject([
      { errors: [{ extensions: { code: 'BAD_USER_INPUT', field: 'ids' } }] },
    ])
  })

  // Over WebSocket, our gateway closes the router's socket.
  if (router.subscriptions === 'sse')
    test('the end of a stream with its token has its code', async () => {
      const { payload } = await submit(world.router, alice, 'task { id }')
      const id = payload?.task?.id ?? ''
      await using routed = connect(world.routerSocket, await sign('alice', '3s'))
      const fields = [`taskUpdated(id: "${id}")`, `tasksUpdated(ids: ["${id}"])`, 'upscaleTasksChanged']
      const streams = fields.map((field) =>
        Array.fromAsync(routed.client.iterate({ query: `subscription { ${field} { id } }` })),
      )
      for (const events of await Promise.all(streams))
        expect(events.at(-1)).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] })
    })

  test('two clients that ask the same both know the state, although the gateway de-duplicates', async () => {
    const { payload } = await submit(world.router, alice, 'task { id }')
    const query = `subscription { taskUpdated(id: "${payload?.task?.id ?? ''}") { version status } }`
    const clients = [connect(world.routerSocket, alice), connect(world.routerSocket, alice)]
    const streams = clients.map(({ client }) => client.iterate({ query }))
    for (const stream of streams)
      expect((await stream.next()).value).toEqual({
        data: { taskUpdated: { version: 2, status: 'PROCESSING' } },
      })
    await succeed()
    for (const stream of streams) {
      const rest = await Array.fromAsync(stream)
      expect(rest.at(-1)).toEqual({ data: { taskUpdated: { version: 3, status: 'SUCCEEDED' } } })
    }
    for (const { client } of clients) await client.dispose()
  })

  test('a task is followed by its watch token', async () => {
    const { payload } = await submit(world.router, alice, 'task { id } watchToken')
    const id = payload?.task?.id ?? ''
    await succeed()
    await using bob = connect(world.routerSocket, await sign('bob'))
    const states = followTask(bob.client, { id, watchToken: payload?.watchToken ?? '' })
    expect(await Array.fromAsync(states)).toMatchObject([{ status: 'SUCCEEDED' }])
  })

  test('several tasks are followed in one stream, which an unknown id and a failure do not end', async () => {
    const one = await submit(world.router, alice, 'task { id }')
    const two = await submit(world.router, alice, 'task { id }')
    const ids = [one, two].map(({ payload }) => payload?.task?.id ?? '')
    await using routed = connect(world.routerSocket, alice)
    const query = `subscription ($ids: [ID!]!) { tasksUpdated(ids: $ids) { id status ${SELECTION} } }`
    const events = routed.client.iterate<{ tasksUpdated: { id: string; status: string } | null }>({
      query,
      variables: { ids: [ids[0], 'unknown', ids[1]] },
    })
    const first = []
    for (let n = 0; n < 3; n += 1) first.push((await events.next()).value as Answer)
    const unknown = first.filter(({ data }) => data?.tasksUpdated === null)
    expect(unknown).toMatchObject([
      { errors: [{ extensions: { code: 'TASK_NOT_FOUND', taskId: 'unknown' } }] },
    ])
    // The native planner repeats errors.
    if (!isNative) expect(first.filter(({ errors }) => errors)).toEqual(unknown)
    await fail()
    const failed = await events.next()
    expect(failed.value).toMatchObject({ data: { tasksUpdated: { id: ids[1], status: 'FAILED' } } })
    await callBack(world.upstream, { code: 200, data: { taskId: 'upstream-1', resultUrls: [RESULT] } }, -2)
    const rest = await Array.fromAsync(events)
    expect(rest).toMatchObject([{ data: { tasksUpdated: { id: ids[0], status: 'SUCCEEDED' } } }])
  })

  test('our restart in mid-stream loses nothing', async () => {
    world.upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
    const { payload } = await submit(world.router, alice, 'task { id }')
    await using routed = connect(world.routerSocket, alice)
    const states = followTask(routed.client, { id: payload?.task?.id ?? '' })
    expect((await states.next()).value).toEqual({ version: 2, status: 'PROCESSING' })
    const rest = Array.fromAsync(states)
    await world.restart()
    await succeed()
    expect(await rest).toEqual([{ version: 3, status: 'SUCCEEDED' }])
  }, 60_000)
})
