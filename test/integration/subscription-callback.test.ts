import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { SignJWT } from 'jose'
import { startScriptedRouter, type ScriptedRouter } from '../support/router.ts'
import { openScene } from '../support/scene.ts'
import { startStopwatch } from '../support/stopwatch.ts'

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

  test.each(['heartbeatIntervalMs', 'heartbeat_interval_ms'])(
    'sends heartbeats twice as often as %s requests, so that none comes too late',
    async (field) => {
      const { id } = await scene.submit()
      await ask(FOLLOW, { id }, toExtension({ heartbeatIntervalMs: undefined, [field]: 2_000 }))
      await router.next('next')
      await router.next('check')
      using readMs = startStopwatch()
      await router.next('check')
      // It is due in 1,000 ms.
      expect(readMs()).toBeLessThan(1_800)
    },
  )

  test('an error is posted in the shape that all errors have', async () => {
    await ask(FOLLOW, { id: 'nobody' }, toExtension())
    const { payload } = await router.next('next')
    expect(payload).toEqual({
      data: { taskUpdated: null },
      errors: [
        {
          message: expect.any(String),
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
    ['an encoded slash', (url: string) => url.replace('/sub-1', '/..%2fadmin')],
    ['an encoded slash in capitals', (url: string) => url.replace('/sub-1', '/..%2Fadmin')],
    ['an encoded backslash', (url: string) => url.replace('/sub-1', '/..%5cadmin')],
    ['a backslash', (url: string) => url.replace('/sub-1', '/x\\..\\..\\admin')],
    ['a backslash for a slash', (url: string) => url.replace('/callback/sub-1', '/callback\\sub-1')],
    ['a way that is encoded twice', (url: string) => url.replace('/sub-1', '/%252e%252e/admin')],
    ['a slash that is encoded too long', (url: string) => url.replace('/sub-1', '/..%c0%afadmin')],
    ['a dot segment that stays inside', (url: string) => url.replace('/sub-1', '/./sub-1')],
    ['a half-encoded way up that stays inside', (url: string) => url.replace('/sub-1', '/x/.%2e/sub-1')],
    ['a way up with a parameter', (url: string) => url.replace('/sub-1', '/..;x/admin')],
    ['three dots', (url: string) => url.replace('/sub-1', '/.../admin')],
    ['an encoded NUL', (url: string) => url.replace('/sub-1', '/sub-1%00')],
    ['any other encoded character', (url: string) => url.replace('/sub-1', '/%73ub-1')],
    ['a tab in a way up', (url: string) => url.replace('/sub-1', '/.\t./admin')],
    ['a line feed', (url: string) => url.replace('/sub-1', '/sub-1\nx')],
    ['a control character at the end', (url: string) => `${url}\u0001`],
    ['a space before it', (url: string) => ` ${url}`],
    ['a letter that the parser encodes', (url: string) => url.replace('/sub-1', '/sub-ä')],
    ['full-width dots', (url: string) => url.replace('/sub-1', '/\uff0e\uff0e/admin')],
    ['a fragment', (url: string) => `${url}#x`],
    ['an empty fragment', (url: string) => `${url}#`],
    ['one slash less', (url: string) => url.replace('http://', 'http:/')],
  ])('never calls %s', async (_name, change) => {
    const callbackUrl = change(`${router.url}/callback/sub-1`)
    expect(await ask(FOLLOW, { id: 'x' }, toExtension({ callbackUrl }))).toMatchObject({
      status: 403,
      code: 'FORBIDDEN',
    })
    expect(router.messages).toEqual([])
  })

  test.each([
    ['the URL itself', (url: string) => url.replace('/sub-1', '')],
    [
      'a deeper folder, a query, and plain marks',
      (url: string) => url.replace('/sub-1', "/a.b/_-~!$&'()*+,=:@?x=%2f"),
    ],
    ['the host in capitals', (url: string) => url.replace('http:', 'HTTP:')],
  ])('calls %s', async (_name, change) => {
    const callbackUrl = change(`${router.url}/callback/sub-1`)
    expect(await ask(FOLLOW, { id: 'x' }, toExtension({ callbackUrl }))).toMatchObject({ status: 200 })
    await router.next('complete')
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
    const response = await fetch(`${scene.gateway.url}/graphql?${search.toString()}`, { headers })
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

  describe('with authentication', () => {
    const SECRET = 'a secret that is long enough for HS256'
    const sign = async (sub: string) =>
      `Bearer ${await new SignJWT({ sub }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h').sign(new TextEncoder().encode(SECRET))}`
    let guarded: Scene
    beforeEach(async () => {
      guarded = await openScene({
        SUBSCRIPTION_CALLBACK_URLS: router.url,
        AUTH_JWT_SECRET: SECRET,
        SOCKET_OPERATION_LIMIT: '1',
      })
      guarded.clock.advance(Date.now() - guarded.clock.now())
    })
    afterEach(() => guarded[Symbol.asyncDispose]())

    const QUERY = `subscription ($id: ID!, $watchToken: String) {
      renamed: taskUpdated(id: $id, watchToken: $watchToken) { version }
    }`
    const follow = async (variables: object, authorization?: string, changes: object = {}) => {
      const response = await fetch(`${guarded.gateway.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(authorization && { authorization }) },
        body: JSON.stringify({ query: QUERY, variables, extensions: { subscription: toExtension(changes) } }),
      })
      const { errors } = (await response.json()) as { errors?: { extensions: { code: string } }[] }
      return [response.status, errors?.[0]?.extensions.code]
    }

    test('nothing is posted for a request without a token, or with one that is not good for this very task', async () => {
      const alice = await sign('alice')
      const { id } = await guarded.submit(alice)
      const other = await guarded.submit(alice)
      const refused = [401, 'UNAUTHENTICATED']
      expect(await follow({ id })).toEqual(refused)
      expect(await follow({ id: 'nobody' })).toEqual(refused)
      expect(await follow({ id, watchToken: 'nonsense' })).toEqual(refused)
      expect(await follow({ id, watchToken: other.watchToken })).toEqual(refused)
      expect(await follow({ id }, 'Bearer nonsense')).toEqual(refused)
      guarded.clock.advance(3_601_000)
      expect(await follow({ id, watchToken: other.watchToken })).toEqual(refused)
      expect(router.messages).toEqual([])
      // The URL is still free.
      expect(await follow({ id }, await sign('alice'))).toEqual([200, undefined])
      expect(await router.next()).toMatchObject({ action: 'check' })
    })

    test('nothing is posted for one subscription more than the owner may have', async () => {
      const alice = await sign('alice')
      const { id } = await guarded.submit(alice)
      expect(await follow({ id }, alice)).toEqual([200, undefined])
      await router.next('next')
      const posted = router.messages.length
      const second = { callbackUrl: `${router.url}/2`, subscriptionId: 'sub-2' }
      expect(await follow({ id }, alice, second)).toEqual([400, 'TOO_MANY_OPERATIONS'])
      expect(router.messages).toHaveLength(posted)
    })

    test('a subscription that can no longer begin after the check is ended, without heartbeats', async () => {
      const alice = await sign('alice')
      const { id } = await guarded.submit(alice)
      const late = { callbackUrl: `${router.url}/late`, subscriptionId: 'late', heartbeatIntervalMs: 100 }
      // While the router thinks about the check, another subscription takes the only place.
      router.answer = async (message) => {
        if (message.id === 'late' && message.action === 'check') {
          await follow({ id }, alice, { heartbeatIntervalMs: 100 })
          while (!router.messages.some(({ action }) => action === 'next')) await turn()
        }
        return message.id === 'late' && message.action === 'complete' ? 400 : 204
      }
      expect(await follow({ id }, alice, late)).toEqual([200, undefined])
      expect(await router.next('complete')).toMatchObject({
        id: 'late',
        errors: [{ extensions: { code: 'TOO_MANY_OPERATIONS' } }],
      })
      // The other subscription's heartbeats show that the time for its own has passed.
      for (let beats = 0; beats < 4;) if ((await router.next('check')).id === 'sub-1') beats += 1
      expect(router.messages.filter((message) => message.id === 'late')).toHaveLength(2)
    })
  })

  test('a variable that does not fit is BAD_USER_INPUT, as on the other transports', async () => {
    const query = 'subscription ($id: ID = "a") { taskUpdated(id: $id) { version } }'
    expect(await ask(query, { id: null }, toExtension())).toMatchObject({
      status: 400,
      body: { errors: [{ extensions: { code: 'BAD_USER_INPUT', field: 'id' } }] },
    })
    expect(router.messages).toEqual([])
  })

  test('a router that fails is sent a message four times, and no more', async () => {
    const { id } = await scene.submit()
    router.status = 503
    expect(await ask(FOLLOW, { id }, toExtension())).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    expect(router.messages.map(({ action }) => action)).toEqual(Array(4).fill('check'))
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
