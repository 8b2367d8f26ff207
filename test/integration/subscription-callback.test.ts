import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { startScriptedRouter, type ScriptedRouter } from '../support/router.ts'
import { openScene } from '../support/scene.ts'

const FOLLOW = `subscription Follow($id: ID!) {
  taskUpdated(id: $id) { status version problem { code } }
}`

type Scene = Awaited<ReturnType<typeof openScene>>

describe('Apollo’s HTTP callback protocol', () => {
  let router: ScriptedRouter
  let scene: Scene
  beforeEach(async () => {
    router = await startScriptedRouter()
    scene = await openScene({ SUBSCRIPTION_CALLBACK_URLS: `${router.url}/callback` })
  })
  afterEach(async () => {
    await scene[Symbol.asyncDispose]()
    await router[Symbol.asyncDispose]()
  })

  const toExtension = (changes: object = {}) => ({
    callbackUrl: `${router.url}/callback/sub-1`,
    subscriptionId: 'sub-1',
    verifier: 'a verifier',
    heartbeatIntervalMs: 0,
    ...changes,
  })
  const ask = async (query: string, variables: object, subscription: unknown) => {
    const response = await fetch(`${scene.gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json;callbackSpec=1.0' },
      body: JSON.stringify({ query, variables, extensions: { subscription } }),
    })
    const body = (await response.json()) as { data?: unknown; errors?: { extensions: { code: string } }[] }
    return { status: response.status, body, code: body.errors?.[0]?.extensions.code }
  }

  test('posts the check, each state, and the end to the router that asked', async () => {
    const { id, succeed } = await scene.submit()
    expect(await ask(FOLLOW, { id }, toExtension())).toMatchObject({ status: 200, body: { data: null } })
    expect(await router.next()).toMatchObject({
      path: '/callback/sub-1',
      kind: 'subscription',
      action: 'check',
      id: 'sub-1',
      verifier: 'a verifier',
      headers: { 'subscription-protocol': 'callback/1.0', 'content-type': 'application/json' },
    })
    const taskUpdated = { status: 'PROCESSING', version: 2, problem: null }
    expect(await router.next()).toMatchObject({ action: 'next', payload: { data: { taskUpdated } } })
    await succeed()
    expect(await router.next('next')).toMatchObject({ payload: { data: { taskUpdated: { version: 3 } } } })
    const end = await router.next()
    expect(end).toMatchObject({ action: 'complete', id: 'sub-1', verifier: 'a verifier' })
    expect(end.errors).toBeUndefined()
  })

  test('tells the router that it is alive, as often as the router wants, until the end', async () => {
    const { id, succeed } = await scene.submit()
    await ask(FOLLOW, { id }, toExtension({ heartbeatIntervalMs: 100 }))
    await router.next('next')
    for (const _beat of [1, 2]) expect(await router.next()).toMatchObject({ action: 'check', id: 'sub-1' })
    await succeed()
    await router.next('complete')
  })

  test('an error is posted in the shape that all errors have', async () => {
    await ask(FOLLOW, { id: 'nobody' }, toExtension())
    const { payload } = await router.next('next')
    expect(payload).toEqual({
      data: { taskUpdated: null },
      errors: [
        {
          message: expect.any(String),
          path: ['taskUpdated'],
          extensions: {
            code: 'TASK_NOT_FOUND',
            taskId: 'nobody',
            retryable: false,
            retryAfterMs: null,
            upstreamCode: null,
            correlationId: expect.any(String),
          },
        },
      ],
    })
    await router.next('complete')
  })

  test('a router that does not know the subscription any more ends it', async () => {
    const { id, succeed } = await scene.submit()
    await ask(FOLLOW, { id }, toExtension({ heartbeatIntervalMs: 100 }))
    await router.next('next')
    router.status = 404
    const open = async () => {
      const metrics = await (await fetch(`${scene.gateway.url}/metrics`)).text()
      return /^upscale_http_streams_open (\d+)$/m.exec(metrics)?.[1]
    }
    while ((await open()) !== '0') await new Promise(setImmediate)
    const told = router.messages.length
    await succeed()
    expect(router.messages.slice(told)).toEqual([])
  })

  test('tells routers to subscribe elsewhere when the service stops', async () => {
    const { id } = await scene.submit()
    await ask(FOLLOW, { id }, toExtension())
    await router.next('next')
    await scene[Symbol.asyncDispose]()
    expect((await router.next()).payload?.errors).toMatchObject([
      { extensions: { code: 'SERVICE_UNAVAILABLE', retryable: true } },
    ])
    expect(await router.next()).toMatchObject({ action: 'complete' })
  })

  test.each([
    ['another host', (url: string) => url.replace('127.0.0.1', 'localhost')],
    ['another port', (url: string) => url.replace(/:\d+/, ':1')],
    ['another scheme', (url: string) => url.replace('http:', 'https:')],
    ['a path beside it', (url: string) => url.replace('/callback', '/callback-of-another')],
    ['a way up', (url: string) => url.replace('/callback', '/callback/../admin')],
    ['a way up in disguise', (url: string) => url.replace('/callback', '/callback/%2e%2e/admin')],
    ['user info', (url: string) => url.replace('//', '//user@')],
    ['a host behind user info', (url: string) => url.replace('/callback', '@evil.example/callback')],
    ['no URL', () => 'callback'],
  ])('never calls %s', async (_name, change) => {
    const callbackUrl = change(`${router.url}/callback/sub-1`)
    expect(await ask(FOLLOW, { id: 'x' }, toExtension({ callbackUrl }))).toMatchObject({
      status: 403,
      code: 'FORBIDDEN',
    })
    expect(router.messages).toEqual([])
  })

  test.each([
    ['no object', 'nonsense'],
    ['no URL', { callbackUrl: undefined }],
    ['no id', { subscriptionId: undefined }],
    ['no verifier', { verifier: undefined }],
    ['an object for a URL', { callbackUrl: {} }],
    ['heartbeats that would be a flood', { heartbeatIntervalMs: 1 }],
    ['heartbeats backwards', { heartbeatIntervalMs: -1 }],
  ])('calls nobody about a request with %s', async (_name, changes) => {
    const extension = typeof changes === 'string' ? changes : toExtension(changes)
    expect(await ask(FOLLOW, { id: 'x' }, extension)).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    expect(router.messages).toEqual([])
  })

  test.each([
    ['a syntax error', 'subscription {', 'GRAPHQL_PARSE_FAILED'],
    ['an unknown field', 'subscription { nonsense }', 'GRAPHQL_VALIDATION_FAILED'],
    [
      'a variable of the wrong type',
      'subscription ($id: ID!) { taskUpdated(id: $id) { id } }',
      'BAD_USER_INPUT',
    ],
    ['a query', '{ upscaleService { mode } }', 'BAD_REQUEST'],
    ['a mutation', 'mutation { redeliverCallbacks(id: "x") { id } }', 'BAD_REQUEST'],
  ])('calls nobody about %s', async (_name, query, code) => {
    expect(await ask(query, { id: {} }, toExtension())).toMatchObject({ status: 400, code })
    expect(router.messages).toEqual([])
  })

  test('a GET cannot slip past the list', async () => {
    const extensions = { subscription: toExtension({ callbackUrl: 'http://127.0.0.1:1/' }) }
    const search = new URLSearchParams({
      query: FOLLOW,
      variables: '{"id":"x"}',
      extensions: JSON.stringify(extensions),
    })
    const headers = { 'apollo-require-preflight': 'yes' }
    const response = await fetch(`${scene.gateway.url}/graphql?${search}`, { headers })
    expect(response.status).toBeGreaterThanOrEqual(400)
    expect(router.messages).toEqual([])
  })

  test('a callback URL has one subscription at a time', async () => {
    const { id, succeed } = await scene.submit()
    expect(await ask(FOLLOW, { id }, toExtension())).toMatchObject({ status: 200 })
    await router.next('next')
    const second = toExtension({ subscriptionId: 'sub-2' })
    expect(await ask(FOLLOW, { id }, second)).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    await succeed()
    await router.next('complete')
    expect(router.messages.map((message) => message.id)).not.toContain('sub-2')
    // It is free again afterwards, also after one that was never begun.
    expect(await ask(FOLLOW, { id }, second)).toMatchObject({ status: 200 })
    await router.next('complete')
    router.status = 400
    expect(await ask(FOLLOW, { id }, second)).toMatchObject({ status: 400 })
    router.status = 204
    expect(await ask(FOLLOW, { id }, second)).toMatchObject({ status: 200 })
  })

  test('a subscription that cannot begin is ended, without heartbeats, whatever the router says to that', async () => {
    await using guarded = await openScene({
      SUBSCRIPTION_CALLBACK_URLS: router.url,
      AUTH_JWT_SECRET: 'a secret that is long enough for HS256',
    })
    const statuses: Record<string, number> = { check: 204, complete: 400 }
    router.answer = ({ action }) => statuses[action] ?? 204
    const response = await fetch(`${guarded.gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        query: FOLLOW,
        variables: { id: 'x' },
        extensions: { subscription: toExtension({ heartbeatIntervalMs: 100 }) },
      }),
    })
    expect(response.status).toBe(200)
    expect(await router.next()).toMatchObject({ action: 'check' })
    const end = await router.next()
    expect(end).toMatchObject({ action: 'complete', errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] })
    // Another subscription's heartbeats tell that the time for its own has passed.
    const { id } = await scene.submit()
    await ask(
      FOLLOW,
      { id },
      toExtension({
        subscriptionId: 'sub-2',
        callbackUrl: `${router.url}/callback/2`,
        heartbeatIntervalMs: 100,
      }),
    )
    for (let beats = 0; beats < 4;) if ((await router.next('check')).id === 'sub-2') beats += 1
    expect(router.messages.filter((message) => message.id === 'sub-1')).toHaveLength(2)
  })

  test('a variable that does not fit is BAD_USER_INPUT, as on the other transports', async () => {
    const query = 'subscription ($id: ID = "a") { taskUpdated(id: $id) { version } }'
    expect(await ask(query, { id: null }, toExtension())).toMatchObject({
      status: 400,
      body: { errors: [{ extensions: { code: 'BAD_USER_INPUT', field: 'id' } }] },
    })
    expect(router.messages).toEqual([])
  })

  test('a router that does not confirm gets an error, and no events', async () => {
    const { id, succeed } = await scene.submit()
    router.status = 400
    expect(await ask(FOLLOW, { id }, toExtension())).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    await succeed()
    expect(router.messages.map(({ action }) => action)).toEqual(['check'])
  })

  test('is off until SUBSCRIPTION_CALLBACK_URLS is set', async () => {
    await using other = await openScene()
    const response = await fetch(`${other.gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        query: FOLLOW,
        variables: { id: 'x' },
        extensions: { subscription: toExtension() },
      }),
    })
    expect([response.status, router.messages]).toEqual([400, []])
    expect(await response.text()).toContain('SUBSCRIPTION_CALLBACK_URLS')
  })
})
