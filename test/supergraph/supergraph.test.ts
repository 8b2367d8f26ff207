import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { followTask, toClientOptions } from '../../client/src/index.ts'
import { CATALOGUE, UPSCALE_ERROR_CODES } from '../../src/tasks/failure.ts'
import { startApolloGateway, type HiveSubscriptions } from '../support/gateways.ts'
import { json, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { ask, openWorld, sign, type Answer, type World } from '../support/supergraph-world.ts'

const RESULT = 'https://example.com/result.png'
const PROBLEM = 'problem { code message retryable retryAfterMs upstreamCode }'
const SELECTION = `images { url } ${PROBLEM}`
const ACCEPTED = json(200, { code: 200, msg: 'success', data: { taskId: 'upstream-1' } })

interface Payload {
  readonly task: { readonly id: string; readonly status: string } | null
  readonly problem?: { readonly code: string } | null
  readonly watchToken?: string
}

async function submit(
  url: string,
  authorization: string,
  selection: string,
): Promise<Answer & { payload: Payload | null }> {
  const input = '{ taskId: "source-1", imageIndex: 0, force: true }'
  const answer = await ask(url, `mutation { upscaleImage(input: ${input}) { ${selection} } }`, authorization)
  return { ...answer, payload: (answer.data?.upscaleImage ?? null) as Payload | null }
}

/** The upstream's callback about the task that was submitted last, or at this position. */
async function callBack(upstream: ScriptedUpstream, body: object, position = -1) {
  const submitted = upstream.received.filter(({ method }) => method === 'POST').at(position)
  const { callBackUrl } = JSON.parse(submitted?.body ?? '') as { callBackUrl: string }
  const response = await fetch(callBackUrl, { method: 'POST', body: JSON.stringify(body) })
  expect(response.status).toBe(200)
}

function connect(url: string, authorization: string) {
  const options = toClientOptions({
    url: `${url.replace('http', 'ws')}/graphql`,
    getAuthorization: () => authorization,
  })
  const client = createClient({ ...options, webSocketImpl: WebSocket })
  return { client, [Symbol.asyncDispose]: async () => client.dispose() }
}

describe.each<[string, HiveSubscriptions]>([
  ['graphql-ws', 'ws'],
  ['server-sent events', 'sse'],
  ['HTTP callbacks', 'callback'],
])('behind Hive Gateway, which subscribes by %s', (_name, subscriptions) => {
  let world: World
  let alice: string
  beforeAll(async () => {
    alice = await sign('alice')
    world = await openWorld(subscriptions)
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
      const { payload } = await submit(world.hive, alice, 'task { id status }')
      expect(payload?.task?.status).toBe('PROCESSING')
      const id = payload?.task?.id ?? ''
      await using direct = connect(world.direct, alice)
      await using hive = connect(world.hive, alice)
      const followers = [direct, hive].map(({ client }) => followTask(client, { id, selection: SELECTION }))
      const first = await Promise.all(followers.map((each) => each.next()))
      await settle()
      const rest = await Promise.all(followers.map((each) => Array.fromAsync(each)))
      const [ours = [], theirs] = followers.map((_, index) => [first[index]?.value, ...(rest[index] ?? [])])
      expect(ours).toHaveLength(2)
      expect(theirs).toEqual(ours)
    },
  )

  test('a failure is an error where `problem` is not asked for, with our extensions', async () => {
    const { payload } = await submit(world.hive, alice, 'task { id }')
    const id = payload?.task?.id ?? ''
    await fail()
    await using hive = connect(world.hive, alice)
    const query = `subscription { taskUpdated(id: "${id}") { status images { url } } }`
    const events = await Array.fromAsync(hive.client.iterate({ query }))
    expect(events).toMatchObject([
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
    const { payload } = await submit(world.hive, alice, 'task { id }')
    const id = payload?.task?.id ?? ''
    const bob = await sign('bob')
    const query = `{ upscaleTask(id: "${id}") { id } }`
    expect((await ask(world.hive, query, alice)).data).toEqual({ upscaleTask: { id } })
    expect((await ask(world.hive, query, bob)).data).toEqual({ upscaleTask: null })
    await using stranger = connect(world.hive, bob)
    await expect(followTask(stranger.client, { id }).next()).rejects.toMatchObject({ code: 'TASK_NOT_FOUND' })
    const response = await fetch(`${world.hive}/graphql`, {
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

  test('two clients that ask the same both know the state, although the gateway de-duplicates', async () => {
    const { payload } = await submit(world.hive, alice, 'task { id }')
    const query = `subscription { taskUpdated(id: "${payload?.task?.id ?? ''}") { version status } }`
    const clients = [connect(world.hive, alice), connect(world.hive, alice)]
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
    const { payload } = await submit(world.hive, alice, 'task { id } watchToken')
    const id = payload?.task?.id ?? ''
    await succeed()
    await using bob = connect(world.hive, await sign('bob'))
    const states = followTask(bob.client, { id, watchToken: payload?.watchToken ?? '' })
    expect(await Array.fromAsync(states)).toMatchObject([{ status: 'SUCCEEDED' }])
  })

  test('several tasks are followed in one stream, which an unknown id and a failure do not end', async () => {
    const one = await submit(world.hive, alice, 'task { id }')
    const two = await submit(world.hive, alice, 'task { id }')
    const ids = [one, two].map(({ payload }) => payload?.task?.id ?? '')
    await using hive = connect(world.hive, alice)
    const query = `subscription ($ids: [ID!]!) { tasksUpdated(ids: $ids) { id status ${SELECTION} } }`
    const events = hive.client.iterate<{ tasksUpdated: { id: string; status: string } | null }>({
      query,
      variables: { ids: [ids[0], 'unknown', ids[1]] },
    })
    const first = []
    for (let n = 0; n < 3; n += 1) first.push((await events.next()).value as Answer)
    const unknown = first.filter(({ errors }) => errors !== undefined)
    expect(unknown).toMatchObject([{ data: { tasksUpdated: null }, errors: [{}] }])
    await fail()
    const failed = await events.next()
    expect(failed.value).toMatchObject({ data: { tasksUpdated: { id: ids[1], status: 'FAILED' } } })
    await callBack(world.upstream, { code: 200, data: { taskId: 'upstream-1', resultUrls: [RESULT] } }, -2)
    const rest = await Array.fromAsync(events)
    expect(rest).toMatchObject([{ data: { tasksUpdated: { id: ids[0], status: 'SUCCEEDED' } } }])
  })

  test('our restart in mid-stream loses nothing', async () => {
    world.upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
    const { payload } = await submit(world.hive, alice, 'task { id }')
    await using hive = connect(world.hive, alice)
    const states = followTask(hive.client, { id: payload?.task?.id ?? '' })
    expect((await states.next()).value).toEqual({ version: 2, status: 'PROCESSING' })
    const rest = Array.fromAsync(states)
    await world.restart()
    await succeed()
    expect(await rest).toEqual([{ version: 3, status: 'SUCCEEDED' }])
  }, 60_000)
})

describe('queries and mutations', () => {
  let world: World
  let apollo: Awaited<ReturnType<typeof startApolloGateway>>
  let alice: string
  beforeAll(async () => {
    alice = await sign('alice')
    world = await openWorld('ws')
    apollo = await startApolloGateway(world.supergraph)
  }, 120_000)
  afterAll(async () => {
    await apollo[Symbol.asyncDispose]()
    await world[Symbol.asyncDispose]()
  })
  const gateways = () => [['Hive Gateway', world.hive] as const, ['Apollo Gateway', apollo.url] as const]

  const numbers = UPSCALE_ERROR_CODES.map((code) => CATALOGUE[code].upstreamCode).filter(
    (code) => code !== null,
  )

  test('there is a code for each number that the upstream is known to say', () => {
    expect([...numbers].sort()).toEqual([400, 401, 402, 404, 408, 422, 429, 433, 455, 500, 501, 505])
  })

  test.each([200, ...numbers])(
    'the upstream’s %i reads the same through each gateway as directly',
    async (code) => {
      world.upstream.onCreate = code === 200 ? ACCEPTED : json(200, { code, msg: 'No.', data: null })
      const selection = `replayed task { status ${PROBLEM} } ${PROBLEM}`
      const direct = await submit(world.direct, alice, selection)
      expect(direct.payload?.problem ?? null).toEqual(
        code === 200 ? null : expect.objectContaining({ upstreamCode: code }),
      )
      for (const [, url] of gateways()) expect(await submit(url, alice, selection)).toEqual(direct)
      // Without `problem` the failure is still visible.
      for (const [, url] of gateways()) {
        const { payload, errors } = await submit(url, alice, 'task { status }')
        expect(payload?.task ?? null).toEqual(code === 200 ? { status: 'PROCESSING' } : null)
        if (code === 200) expect(errors).toBeUndefined()
        else expect(errors?.map(({ message }) => message).join()).not.toBe('')
        if (code !== 200) expect(errors?.[0]?.extensions?.code).toBe(direct.payload?.problem?.code)
      }
    },
  )

  test('entities are joined both ways', async () => {
    world.upstream.onCreate = ACCEPTED
    const { payload } = await submit(world.direct, alice, 'task { id }')
    const id = payload?.task?.id ?? ''
    for (const [, url] of gateways()) {
      const query = `{
        upscaleTask(id: "${id}") { status likes source { id prompt } }
        gallery(ids: ["${id}"]) { nodes { likes status version source { prompt } } pageInfo { hasNextPage } }
      }`
      const source = { prompt: 'the prompt of source-1' }
      expect((await ask(url, query, alice)).data).toEqual({
        upscaleTask: { status: 'PROCESSING', likes: id.length, source: { id: 'source-1', ...source } },
        gallery: {
          nodes: [{ likes: id.length, status: 'PROCESSING', version: 2, source }],
          pageInfo: { hasNextPage: false },
        },
      })
      const stranger = await ask(
        url,
        `{ gallery(ids: ["${id}"]) { nodes { likes status } } }`,
        await sign('bob'),
      )
      expect(JSON.stringify(stranger)).not.toContain('PROCESSING')
    }
  })

  test('who brings no token is refused by us, and told so', async () => {
    for (const [, url] of gateways()) {
      const { data, errors } = await ask(url, '{ upscaleErrors { code } }')
      expect(data?.upscaleErrors ?? null).toBeNull()
      expect(JSON.stringify(errors)).toMatch(/UNAUTHENTICATED/)
    }
  })
})
