import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createClient } from 'graphql-ws'
import { decodeJwt, SignJWT } from 'jose'
import { WebSocket } from 'ws'
import { openEventStream } from '../support/event-stream.ts'
import { startScriptedRouter } from '../support/router.ts'
import { openScene } from '../support/scene.ts'

const FOLLOW = `subscription Follow($id: ID!, $watchToken: String) {
  taskUpdated(id: $id, watchToken: $watchToken) { id status version }
}`
const SECRET = 'a secret that is long enough for HS256'
const OLD = 'an older secret that is still about....'
const NEW = 'a newer secret that signs from now on..'

const sign = async (sub: string) =>
  `Bearer ${await new SignJWT({ sub }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h').sign(new TextEncoder().encode(SECRET))}`

type Scene = Awaited<ReturnType<typeof openScene>>
interface Result {
  data?: { taskUpdated: { version: number } | null }
  errors?: { extensions: { code: string } }[]
}

/** Follows over server-sent events: the versions seen, or the code of the error. */
async function followByStream(scene: Scene, variables: object, headers: Record<string, string> = {}) {
  using stream = await openEventStream<Result>(scene.gateway.url, {
    query: FOLLOW,
    variables: { ...variables },
    headers,
  })
  const first = (await stream.next())?.data
  return first?.errors?.[0]?.extensions.code ?? first?.data?.taskUpdated?.version
}

/** The same over WebSocket: how the socket was closed, where it was not let in. */
async function followBySocket(scene: Scene, variables: Record<string, unknown>, connectionParams?: object) {
  const client = createClient({
    url: `${scene.gateway.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    ...(connectionParams && { connectionParams: { ...connectionParams } }),
  })
  try {
    for await (const { data, errors } of client.iterate<Result['data']>({ query: FOLLOW, variables }))
      return errors?.[0]?.extensions?.code ?? (data as Result['data'])?.taskUpdated?.version
    return 'completed'
  } catch (error) {
    const { code, reason } = error as { code: number; reason: string }
    return [code, reason]
  } finally {
    await client.dispose()
  }
}

describe('a watch token', () => {
  let scene: Scene
  let alice: string
  beforeEach(async () => {
    alice = await sign('alice')
    scene = await openScene({ AUTH_JWT_SECRET: SECRET })
    scene.clock.advance(Date.now() - scene.clock.now())
  })
  afterEach(() => scene[Symbol.asyncDispose]())

  test('lets whoever has it follow the task: a stranger, or one who brings nothing else', async () => {
    const { id, watchToken } = await scene.submit(alice)
    expect(await followByStream(scene, { id, watchToken })).toBe(2)
    expect(await followByStream(scene, { id, watchToken }, { authorization: await sign('bob') })).toBe(2)
    expect(await followBySocket(scene, { id, watchToken }, { watchToken })).toBe(2)
    expect(await followBySocket(scene, { id, watchToken }, { authorization: await sign('bob') })).toBe(2)
  })

  test('is good for its own task only', async () => {
    const { watchToken } = await scene.submit(alice)
    const { id } = await scene.submit(alice)
    expect(await followByStream(scene, { id, watchToken })).toBe('UNAUTHENTICATED')
    expect(await followBySocket(scene, { id, watchToken }, { watchToken })).toBe('UNAUTHENTICATED')
    const bob = { authorization: await sign('bob') }
    expect(await followByStream(scene, { id, watchToken }, bob)).toBe('TASK_NOT_FOUND')
    expect(await followByStream(scene, { id, watchToken }, { authorization: alice })).toBe(2)
  })

  test.each([
    ['none', null],
    ['nonsense', 'nonsense'],
    ['one that was changed', (token: string) => `${token.slice(0, -4)}AAAA`],
    ['a bearer token', () => alice.slice('Bearer '.length)],
  ])('%s is UNAUTHENTICATED for a guest, whether there is such a task or not', async (_name, make) => {
    const { id, watchToken: good } = await scene.submit(alice)
    const watchToken = typeof make === 'function' ? make(good ?? '') : make
    for (const each of [id, 'nobody']) {
      expect(await followByStream(scene, { id: each, watchToken })).toBe('UNAUTHENTICATED')
      expect(await followBySocket(scene, { id: each, watchToken }, { watchToken })).toEqual([
        4401,
        'UNAUTHENTICATED',
      ])
    }
  })

  test('is taken for nothing else', async () => {
    const { id, watchToken } = await scene.submit(alice)
    const post = async (query: string, headers: Record<string, string>) => {
      const response = await fetch(`${scene.gateway.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ query }),
      })
      return response.status
    }
    expect(await post('{ __typename }', { authorization: `Bearer ${watchToken}` })).toBe(401)
    expect(await followBySocket(scene, { id }, { authorization: `Bearer ${watchToken}` })).toEqual([
      4401,
      'UNAUTHENTICATED',
    ])
    // A socket that it has opened runs nothing but what shows it again.
    const client = createClient({
      url: `${scene.gateway.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      connectionParams: { watchToken },
    })
    for (const query of [
      `{ upscaleTask(id: "${id}") { id } }`,
      '{ upscaleErrors { code } }',
      '{ _service { sdl } }',
      '{ __schema { queryType { name } } }',
      `mutation { redeliverCallbacks(id: "${id}") { id } }`,
      'mutation { upscaleImage(input: { taskId: "source", imageIndex: 0 }) { replayed } }',
    ]) {
      const refused = client.iterate({ query }).next()
      await expect(refused).rejects.toMatchObject([{ extensions: { code: 'UNAUTHENTICATED' } }])
    }
    expect(
      (await client.iterate<Result['data']>({ query: FOLLOW, variables: { id } }).next()).value,
    ).toMatchObject({
      errors: [{ extensions: { code: 'UNAUTHENTICATED' } }],
    })
    await client.dispose()
    expect(scene.upstream.received.filter(({ method }) => method === 'POST')).toHaveLength(1)
  })

  test('that is refused is counted and logged with its reason, and a guest without any as well; good ones are not', async () => {
    const { id, watchToken } = await scene.submit(alice)
    const other = await scene.submit(alice)
    const refusals = async () => {
      const text = await (await fetch(`${scene.gateway.url}/metrics`)).text()
      return Object.fromEntries(
        [...text.matchAll(/^upscale_auth_refusals_total\{reason="(\w+)"\} (\d+)$/gm)].map(
          ([, reason, count]) => [String(reason), Number(count)],
        ),
      )
    }
    expect(await followByStream(scene, { id, watchToken })).toBe(2)
    expect(await followBySocket(scene, { id, watchToken }, { watchToken })).toBe(2)
    expect(await refusals()).toEqual({})
    await followByStream(scene, { id, watchToken: 'nonsense' })
    await followByStream(scene, { id, watchToken: 'x'.repeat(9_000) })
    await followByStream(scene, { id, watchToken: other.watchToken })
    await followByStream(scene, { id, watchToken: alice.slice('Bearer '.length) })
    using query = await openEventStream(scene.gateway.url, { query: '{ __typename }' })
    expect(query.response.status).toBe(401)
    const counted = { malformed: 1, too_long: 1, wrong_subject: 1, bad_signature: 1, missing_token: 1 }
    expect(await refusals()).toEqual(counted)
    scene.clock.advance(3_601_000)
    await followByStream(scene, { id, watchToken })
    expect(await refusals()).toEqual({ ...counted, expired: 1 })
    const logged = scene.gateway
      .log()
      .split('\n')
      .filter((line) => line.includes('"credential":"watch"'))
    expect(logged.map((line) => (JSON.parse(line) as { reason: string }).reason)).toEqual([
      'malformed',
      'too_long',
      'wrong_subject',
      'bad_signature',
      'expired',
    ])
    for (const token of [watchToken, other.watchToken]) expect(scene.gateway.log()).not.toContain(token)
  })

  test('does not show where the owner is called back', async () => {
    const { id, watchToken } = await scene.submit(alice)
    const query = `subscription ($watchToken: String) {
      taskUpdated(id: "${id}", watchToken: $watchToken) { version source { id } callbacks { url } }
    }`
    using stream = await openEventStream<Result>(scene.gateway.url, { query, variables: { watchToken } })
    expect((await stream.next())?.data).toMatchObject({
      data: { taskUpdated: null },
      errors: [{ path: ['taskUpdated', 'callbacks'], extensions: { code: 'FORBIDDEN' } }],
    })
  })

  test('and its owner, on one task at the same time, are each shown what they may see and have asked for', async () => {
    const { id, watchToken, succeed } = await scene.submit(alice)
    const query = `subscription ($id: ID!, $watchToken: String, $more: Boolean = false) {
      taskUpdated(id: $id, watchToken: $watchToken) { version callbacks { url } status @include(if: $more) }
    }`
    const bob = await sign('bob')
    const watchers = (
      [
        [alice, { id }],
        [alice, { id }],
        [alice, { id, more: true }],
        [bob, { id, watchToken }],
        [alice, { id, watchToken }],
      ] as const
    ).map(([authorization, variables]) => {
      const client = createClient({
        url: `${scene.gateway.url.replace('http', 'ws')}/graphql`,
        webSocketImpl: WebSocket,
        connectionParams: { authorization },
      })
      const results = client.iterate({ query, variables: { ...variables } })
      return { client, results }
    })
    const first = await Promise.all(watchers.map(({ results }) => results.next()))
    await succeed()
    const last = await Promise.all(watchers.map(({ results }) => results.next()))
    const owner = (version: number) => ({ data: { taskUpdated: { version, callbacks: [] } } })
    const refused = {
      data: { taskUpdated: null },
      errors: [expect.objectContaining({ path: ['taskUpdated', 'callbacks'] })],
    }
    const seen = (version: number, status: string) => [
      owner(version),
      owner(version),
      { data: { taskUpdated: { version, callbacks: [], status } } },
      refused,
      owner(version),
    ]
    expect(first.map(({ value }) => value as unknown)).toEqual(seen(2, 'PROCESSING'))
    expect(last.map(({ value }) => value as unknown)).toEqual(seen(3, 'SUCCEEDED'))
    for (const { client } of watchers) await client.dispose()
  })

  test('is good for an hour: then its streams end, its socket is closed, and it opens no other', async () => {
    const { id, watchToken } = await scene.submit(alice)
    expect(decodeJwt(watchToken ?? '')).toMatchObject({
      sub: id,
      exp: Math.floor(scene.clock.now() / 1_000) + 3_600,
    })
    using stream = await openEventStream<Result>(scene.gateway.url, {
      query: FOLLOW,
      variables: { id, watchToken },
    })
    expect((await stream.next())?.data?.data?.taskUpdated?.version).toBe(2)
    const end = stream.all()
    const closed = Promise.withResolvers<unknown>()
    const client = createClient({
      url: `${scene.gateway.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      connectionParams: { watchToken },
      // The server closes the socket, not the client when its stream has ended.
      lazyCloseTimeout: 60_000,
      on: { closed: (event) => closed.resolve((event as { code: number }).code) },
    })
    const events = client.iterate<Result['data']>({ query: FOLLOW, variables: { id, watchToken } })
    expect((await events.next()).value).toMatchObject({ data: { taskUpdated: { version: 2 } } })
    scene.clock.advance(3_601_000)
    expect((await end).map(({ data }) => data?.errors?.[0]?.extensions.code).at(-2)).toBe('UNAUTHENTICATED')
    expect((await events.next()).value).toMatchObject({
      errors: [{ extensions: { code: 'UNAUTHENTICATED' } }],
    })
    scene.clock.advance(500)
    expect(await closed.promise).toBe(4403)
    expect(await followByStream(scene, { id, watchToken })).toBe('UNAUTHENTICATED')
    expect(await followBySocket(scene, { id, watchToken }, { watchToken })).toEqual([4401, 'UNAUTHENTICATED'])
    await client.dispose()
  })

  test('is not given out for what was refused', async () => {
    const response = await fetch(`${scene.gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: alice },
      body: JSON.stringify({
        query:
          'mutation { upscaleImage(input: { taskId: "x", imageIndex: 0 }) { watchToken problem { code } task { id } } }',
      }),
    })
    expect(await response.json()).toMatchObject({
      data: { upscaleImage: { watchToken: expect.any(String) } },
    })
  })
})

test('a router that forwards no headers follows a task by its watch token over HTTP callbacks, and does nothing else', async () => {
  await using router = await startScriptedRouter()
  await using scene = await openScene({
    AUTH_JWT_SECRET: SECRET,
    SUBSCRIPTION_CALLBACK_URLS: router.url,
  })
  scene.clock.advance(Date.now() - scene.clock.now())
  const { id, watchToken } = await scene.submit(await sign('alice'))
  const ask = async (query: string, variables: object) => {
    const subscription = {
      callbackUrl: `${router.url}/1`,
      subscriptionId: '1',
      verifier: 'v',
      heartbeatIntervalMs: 0,
    }
    const response = await fetch(`${scene.gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables, extensions: { subscription } }),
    })
    return response.status
  }
  expect(await ask('{ __typename }', {})).toBe(401)
  expect(await ask('mutation { redeliverCallbacks(id: "x") { id } }', {})).toBe(401)
  expect(router.messages).toEqual([])
  expect(await ask(FOLLOW, { id, watchToken })).toBe(200)
  expect(await router.next('next')).toMatchObject({ payload: { data: { taskUpdated: { version: 2 } } } })
})

test('with GUEST_SOCKETS a socket that brings nothing follows tasks by watch tokens, and does nothing else', async () => {
  await using scene = await openScene({ AUTH_JWT_SECRET: SECRET, GUEST_SOCKETS: 'on' })
  scene.clock.advance(Date.now() - scene.clock.now())
  const { id, watchToken } = await scene.submit(await sign('alice'))
  expect(await followBySocket(scene, { id, watchToken })).toBe(2)
  expect(await followBySocket(scene, { id })).toBe('UNAUTHENTICATED')
  expect(await followBySocket(scene, { id, watchToken }, { authorization: 'Bearer nonsense' })).toEqual([
    4401,
    'UNAUTHENTICATED',
  ])
})

test('a secret can be replaced while tokens that it signed are about; without secrets live mode gives out none', async () => {
  const live = { UPSTREAM_API_KEY: 'key', AUTH_JWT_SECRET: SECRET }
  await using before = await openScene({ ...live, WATCH_TOKEN_SECRETS: OLD })
  await using after = await openScene({ ...live, WATCH_TOKEN_SECRETS: `${NEW},${OLD}` })
  await using without = await openScene(live)
  const alice = await sign('alice')
  const { watchToken } = await before.submit(alice)
  const { id } = await after.submit(alice)
  // Another task’s: verified, but for another id.
  expect(await followBySocket(after, { id, watchToken }, { watchToken })).toBe('UNAUTHENTICATED')
  expect(await followBySocket(without, { id, watchToken }, { watchToken })).toEqual([4401, 'UNAUTHENTICATED'])
  expect((await without.submit(alice)).watchToken).toBeNull()
})

test('nothing that a secret of both uses signs is taken for the other', async () => {
  await using scene = await openScene({ AUTH_JWT_SECRET: SECRET, WATCH_TOKEN_SECRETS: SECRET })
  scene.clock.advance(Date.now() - scene.clock.now())
  const alice = await sign('alice')
  const { id, watchToken } = await scene.submit(alice)
  expect(await followBySocket(scene, { id }, { authorization: `Bearer ${watchToken}` })).toEqual([
    4401,
    'UNAUTHENTICATED',
  ])
  const forged = await new SignJWT({ sub: id })
    .setProtectedHeader({ alg: 'HS256', typ: 'upscale-watch+jwt' })
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET))
  expect(await followByStream(scene, { id, watchToken: forged })).toBe('UNAUTHENTICATED')
})
