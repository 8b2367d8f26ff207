import { describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { openEventStream } from '../support/event-stream.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { openTestSchema } from '../support/postgres.ts'
import { startSilentProxy } from '../support/proxy.ts'
import { startScriptedRouter } from '../support/router.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTaskStream, STREAM_TRANSPORTS } from '../support/task-stream.ts'
import { openTempDir } from '../support/temp-dir.ts'

const UPSCALE =
  'mutation { upscaleImage(input: { taskId: "a", imageIndex: 0 }) { task { id } problem { code } } }'
const LIST = '{ upscaleTasks { edges { node { id } } } }'
const FOLLOW = 'subscription ($id: ID!) { taskUpdated(id: $id) { id version status } }'
const FOLLOW_MANY = 'subscription ($id: ID!) { tasksUpdated(ids: [$id]) { id version status } }'
const FOLLOW_ALL = 'subscription { upscaleTasksChanged { id version status } }'

const UNAVAILABLE = {
  message: 'The service is unavailable at the moment: retry.',
  extensions: { code: 'SERVICE_UNAVAILABLE', retryable: true, retryAfterMs: 2_000 },
}

interface Outage {
  readonly url: string
  begin(): Promise<unknown>
  end(): Promise<unknown>
}

/** Ways in which a database can be away, behind a URL that a test can make fail. */
const WAYS: Record<string, (url: string, opened: AsyncDisposableStack) => Promise<Outage>> = {
  async 'refuses connections'(url, opened) {
    const proxy = opened.use(await startSilentProxy(url))
    return { url: proxy.url, begin: () => proxy.refuse(), end: () => proxy.accept() }
  },
  async 'does not answer'(url, opened) {
    const proxy = opened.use(await startSilentProxy(url))
    return {
      url: proxy.url,
      begin() {
        proxy.silence(true)
        return Promise.resolve()
      },
      end() {
        proxy.speak()
        return Promise.resolve()
      },
    }
  },
  async 'cancels statements that take too long'(url, opened) {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    opened.defer(() => client.end())
    return {
      url,
      begin: () => client.query('BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE'),
      end: () => client.query('COMMIT'),
    }
  },
}

async function openScene(way: keyof typeof WAYS) {
  await using opened = new AsyncDisposableStack()
  const schema = opened.use(await openTestSchema())
  const upstream = opened.use(await startScriptedUpstream())
  upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
  const router = opened.use(await startScriptedRouter())
  const folder = opened.use(await openTempDir())
  const outage = await WAYS[way]?.(schema.url, opened)
  if (outage === undefined) throw new Error(`Unknown way ${way}`)
  const { url, ...rest } = outage
  const gateway = opened.use(
    await startGateway({
      DATABASE_URL: url,
      UPSTREAM_URL: upstream.url,
      RESULT_STORE: `file:${folder.path}`,
      SUBSCRIPTION_CALLBACK_URLS: `${router.url}/callback`,
      REASSERT_MS: '1000',
    }),
  )
  const scope = opened.move()
  return { gateway, upstream, router, ...rest, [Symbol.asyncDispose]: () => scope.disposeAsync() }
}

const post = async (gateway: Gateway, query: string) => {
  const response = await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query }),
  })
  return toAnswer(response)
}

const toAnswer = async (response: Response) => ({
  status: response.status,
  retryAfter: response.headers.get('retry-after'),
  body: await response.json(),
})

describe.each(Object.keys(WAYS))('while the database %s', (way) => {
  test('every transport reports SERVICE_UNAVAILABLE as retryable, and running subscriptions continue', async () => {
    await using scene = await openScene(way)
    const { gateway, upstream, router } = scene
    await post(gateway, UPSCALE)
    const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
    const [, , , id = ''] = new URL(callBackUrl).pathname.split('/')
    const variables = { id }
    const open = (transport: (typeof STREAM_TRANSPORTS)[number], query: string) =>
      openTaskStream(transport, { url: gateway.url, query, variables, authorization: null }, router)
    await using running = await open('WebSocket', FOLLOW)
    expect(await running.next()).toMatchObject({ data: { taskUpdated: { status: 'PROCESSING' } } })
    await scene.begin()

    const callBack = () => {
      const resultUrls = ['https://example.com/result.png']
      const body = JSON.stringify({ code: 200, data: { taskId: 'upstream-1', resultUrls } })
      return fetch(callBackUrl, { method: 'POST', body })
    }
    const stream = async (query: string) => (await openEventStream(gateway.url, { query })).response
    const [http, sse, rest, sockets] = await Promise.all([
      Promise.all([LIST, UPSCALE].map((query) => post(gateway, query))),
      Promise.all([LIST, UPSCALE].map(async (query) => toAnswer(await stream(query)))),
      Promise.all([callBack(), fetch(`${gateway.url}/results/${id}/0/signature`)]).then((responses) =>
        Promise.all(responses.map(toAnswer)),
      ),
      Promise.all([LIST, UPSCALE].map((query) => gateway.run('WebSocket', query))),
    ])
    const answer = { status: 503, retryAfter: '2', body: { errors: [UNAVAILABLE] } }
    expect([...http, ...sse]).toMatchObject([answer, answer, answer, answer])
    const { extensions } = UNAVAILABLE
    for (const each of rest) expect(each).toMatchObject({ ...answer, body: { errors: [{ extensions }] } })
    for (const each of sockets) expect(each).toMatchObject({ errors: [UNAVAILABLE] })
    const partial = await post(gateway, '{ upscaleService { mode } upscaleTasks { edges { node { id } } } }')
    expect(partial).toMatchObject({
      status: 200,
      retryAfter: null,
      body: { data: { upscaleService: { mode: 'SANDBOX' }, upscaleTasks: null }, errors: [UNAVAILABLE] },
    })
    const ready = await fetch(`${gateway.url}/readyz`)
    expect([ready.status, ready.headers.get('retry-after')]).toEqual([503, '2'])

    for (const query of [FOLLOW, FOLLOW_MANY, FOLLOW_ALL]) {
      const refused = STREAM_TRANSPORTS.map(async (transport) => {
        await using refusal = await open(transport, query)
        return [await refusal.next(), await refusal.next()]
      })
      const end = [{ errors: [UNAVAILABLE] }, undefined]
      expect(await Promise.all(refused)).toMatchObject([end, end, end])
    }

    await scene.end()
    const back = AbortSignal.timeout(10_000)
    while ((await callBack()).status !== 200) expect(back.aborted).toBe(false)
    for (;;) {
      const event = await running.next()
      expect(event?.errors).toBeUndefined()
      if (event?.data?.taskUpdated?.status === 'SUCCEEDED') break
    }
    // Paid once.
    expect(upstream.received.filter(({ method }) => method === 'POST')).toHaveLength(1)
    // No stack, and no level of `error`, for each failure.
    expect(gateway.log()).toContain('an operation failed: the store is unavailable')
    expect(gateway.log()).not.toMatch(/"level":50.*(?:operation|request|callback|copy)/)
  }, 60_000)
})
