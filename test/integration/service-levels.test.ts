import { describe, expect, test } from '@jest/globals'
import { SignJWT } from 'jose'
import { UpscaleImageDocument } from '../generated/operations.ts'
import { openEventStream } from '../support/event-stream.ts'
import { startGateway } from '../support/gateway.ts'
import { readMetrics, waitForMetrics } from '../support/metrics.ts'
import { draw } from '../support/picture-files.ts'
import { serve, startPictureServer } from '../support/picture-server.ts'
import { startScriptedRouter } from '../support/router.ts'
import { openScene, RESULT } from '../support/scene.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openReadySocket, openSocket } from '../support/socket.ts'
import { waitFor } from '../support/wait-for.ts'

const MINUTE_MS = 60_000
const SECRET = 'a secret that is long enough for HS256'
const FOLLOW = 'subscription ($id: ID!) { taskUpdated(id: $id) { status version } }'
const SUCCEEDED = json(200, {
  code: 200,
  data: { successFlag: 1, resultInfoJson: { resultUrls: [{ resultUrl: RESULT }] } },
})

type Scene = Awaited<ReturnType<typeof openScene>>

/** How many tasks have settled so, within this many seconds. */
async function countSettled({ gateway }: Scene, le: string, status: string, source: string): Promise<number> {
  const start = `upscale_settle_seconds_bucket{le="${le}",status="${status}",source="${source}"} `
  const line = (await readMetrics(gateway)).find((each) => each.startsWith(start))
  return Number(line?.slice(start.length) ?? 0)
}

const settled = (status: string, source: string) =>
  `upscale_settle_seconds_count{status="${status}",source="${source}"} 1`

/** Lets time pass until /metrics has this line: a poll that a slow database delays is repeated. */
const runUntil = ({ clock, gateway }: Scene, line: string) =>
  waitFor(async () => {
    clock.advance(100)
    return (await readMetrics(gateway)).includes(line)
  })

describe('a task that settles is counted by what has brought the result', () => {
  test('a callback, with the time since its creation', async () => {
    await using scene = await openScene()
    const { succeed } = await scene.submit()
    scene.clock.lag(25_000)
    await succeed()
    await waitForMetrics(scene.gateway, settled('SUCCEEDED', 'callback'))
    expect(await countSettled(scene, '20', 'SUCCEEDED', 'callback')).toBe(0)
    expect(await countSettled(scene, '30', 'SUCCEEDED', 'callback')).toBe(1)
  })

  test('a poll, and the deadline', async () => {
    await using scene = await openScene()
    await scene.submit()
    scene.upstream.onLookup = SUCCEEDED
    scene.clock.advance(MINUTE_MS)
    await runUntil(scene, settled('SUCCEEDED', 'poll'))
    scene.upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
    await scene.submit()
    scene.clock.advance(31 * MINUTE_MS)
    await runUntil(scene, settled('FAILED', 'deadline'))
  })

  test('the answer to the submit, and its owner', async () => {
    await using scene = await openScene({ UPSTREAM_RATE_LIMIT: '1/600s' })
    const { upstream, gateway } = scene
    upstream.onCreate = json(200, { code: 402, msg: 'x' })
    const submit = (taskId: string, queue: boolean) =>
      gateway.run('HTTP', UpscaleImageDocument, { input: { taskId, imageIndex: 0, queue } })
    await submit('refused', false)
    await waitForMetrics(gateway, settled('FAILED', 'submit'))
    const { data } = await submit('waiting', true)
    await gateway.run('HTTP', `mutation { cancelUpscale(id: "${data?.upscaleImage?.task?.id}") { status } }`)
    await waitForMetrics(gateway, settled('FAILED', 'owner'))
  })

  test('and not by its inspection, which comes after it', async () => {
    await using pictures = await startPictureServer(serve(await draw().png().toBuffer()))
    await using scene = await openScene({ RESULT_INSPECT_MS: '60000', RESULT_ALLOW_HOSTS: '127.0.0.1' })
    const { id, succeed } = await scene.submit()
    await succeed(`${pictures.url}/a.png`)
    await waitForMetrics(scene.gateway, settled('SUCCEEDED', 'callback'))
    const { data } = await scene.gateway.run<
      { upscaleTask: { history: { source: string }[] } },
      { id: string }
    >('HTTP', 'query ($id: ID!) { upscaleTask(id: $id) { history { source } } }', { id })
    expect(data?.upscaleTask.history.at(-1)?.source).toBe('INSPECTION')
  })
})

test('a submit is counted by its outcome, and a refusal by the limit that has refused', async () => {
  await using upstream = await startScriptedUpstream()
  const limits = { OWNER_RATE_LIMIT: '6/600s', UPSTREAM_RATE_LIMIT: '3/600s', QUEUE_LIMIT: '1' }
  await using gateway = await startGateway({
    UPSTREAM_URL: upstream.url,
    CALLBACK_ALLOW_HOSTS: 'h',
    ...limits,
  })
  const submit = (taskId: string, more: { queue?: boolean; callBackUrl?: string } = {}) =>
    gateway.run('HTTP', UpscaleImageDocument, { input: { taskId, imageIndex: 0, ...more } })
  await submit('accepted')
  for (const n of [1, 2, 3, 4, 5, 6]) await submit('accepted', { callBackUrl: `http://h/${n}` })
  upstream.onCreate = (response) => void response.destroy()
  await submit('unanswered')
  upstream.onCreate = json(200, { code: 402, msg: 'x' })
  await submit('refused')
  await submit('too many for the engine')
  await submit('queued', { queue: true })
  await submit('too many for the queue', { queue: true })
  const count = (outcome: string, times: number) =>
    `upscale_submit_seconds_count{outcome="${outcome}"} ${times}`
  const lines = await readMetrics(gateway)
  for (const line of [
    count('accepted', 1),
    count('replayed', 5),
    count('BAD_USER_INPUT', 1),
    count('unanswered', 1),
    count('INSUFFICIENT_CREDITS', 1),
    count('queued', 1),
    'upscale_refusals_total{limit="callback_urls"} 1',
    'upscale_refusals_total{limit="queue"} 1',
  ])
    expect(lines).toContain(line)
  expect(lines.join('\n')).toMatch(/upscale_refusals_total\{limit="engine_rate"\} [1-9]/)
  await gateway.breakStore()
  await submit('not stored')
  await waitForMetrics(gateway, count('error', 1))
})

test('submits above the rate of an owner are counted as refused by it', async () => {
  await using upstream = await startScriptedUpstream()
  await using gateway = await startGateway({ UPSTREAM_URL: upstream.url, OWNER_RATE_LIMIT: '1/600s' })
  for (const taskId of ['one', 'two'])
    await gateway.run('HTTP', UpscaleImageDocument, { input: { taskId, imageIndex: 0 } })
  await waitForMetrics(
    gateway,
    'upscale_refusals_total{limit="owner_rate"} 1',
    'upscale_submit_seconds_count{outcome="RATE_LIMITED"} 1',
  )
})

test('the time of the last callback is that of the last one that was accepted; before it, that of the start', async () => {
  await using scene = await openScene()
  const { clock, gateway } = scene
  const at = (ms: number) => `upscale_last_callback_timestamp_seconds ${ms / 1_000}`
  const startedAt = clock.now()
  const { succeed } = await scene.submit()
  clock.lag(MINUTE_MS)
  await fetch(`${gateway.url}/callbacks/upscale/unknown/token`, { method: 'POST', body: '{}' })
  await waitForMetrics(gateway, 'upscale_callback_seconds_count{status="404"} 1', at(startedAt))
  await succeed()
  await waitForMetrics(gateway, 'upscale_callback_seconds_count{status="200"} 1', at(clock.now()))
})

test('the backlogs of polls, the queue and deliveries show their size and their age', async () => {
  await using receiver = await startScriptedUpstream()
  receiver.onCreate = json(500, {})
  await using scene = await openScene({ UPSTREAM_RATE_LIMIT: '1/6000s', CALLBACK_ALLOW_HOSTS: '127.0.0.1' })
  const { gateway, clock, upstream } = scene
  await waitForMetrics(
    gateway,
    'upscale_polls_overdue 0',
    'upscale_poll_overdue_seconds 0',
    'upscale_queue_tasks 0',
    'upscale_queue_oldest_seconds 0',
    'upscale_deliveries_pending 0',
    'upscale_delivery_overdue_seconds 0',
  )
  const submit = (taskId: string, more: object) =>
    gateway.run('HTTP', UpscaleImageDocument, { input: { taskId, imageIndex: 0, ...more } })
  await submit('sent', { callBackUrl: receiver.url })
  await submit('waiting', { queue: true })
  // The poll of the sent task is due after 30 seconds. The clock calls no worker back.
  clock.lag(100_000)
  await waitForMetrics(
    gateway,
    'upscale_polls_overdue 1',
    'upscale_poll_overdue_seconds 70',
    'upscale_queue_tasks 1',
    'upscale_queue_oldest_seconds 100',
    'upscale_deliveries_pending 0',
  )
  const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
  const result = { code: 200, data: { taskId: 'upstream-1', resultUrls: [RESULT] } }
  await fetch(callBackUrl, { method: 'POST', body: JSON.stringify(result) })
  await waitForMetrics(gateway, 'upscale_deliveries_total{outcome="pending"} 1', 'upscale_polls_overdue 0')
  // The retry is due within 6 seconds.
  clock.lag(3_600_000)
  await waitForMetrics(gateway, 'upscale_deliveries_pending 1')
  const age = (await readMetrics(gateway)).find((line) => line.startsWith('upscale_delivery_overdue_seconds'))
  expect(Math.round(Number(age?.split(' ')[1]) / 100)).toBe(36)
})

const ended = (transport: string, reason: string, times = 1) =>
  `upscale_streams_ended_total{transport="${transport}",reason="${reason}"} ${times}`
const open = (transport: string, times: number) => `upscale_streams_open{transport="${transport}"} ${times}`

describe('a stream is counted while it is open, and by how it has ended', () => {
  test('over WebSocket: with its task, by its client, or because there is no such task', async () => {
    await using scene = await openScene()
    const { id, succeed } = await scene.submit()
    using socket = await openReadySocket(scene.gateway.url)
    const subscribe = (operation: string, taskId: string) =>
      socket.send({ id: operation, type: 'subscribe', payload: { query: FOLLOW, variables: { id: taskId } } })
    for (const operation of ['a', 'b', 'c']) subscribe(operation, id)
    subscribe('unknown', 'unknown')
    await waitForMetrics(scene.gateway, open('websocket', 3), ended('websocket', 'not_found'))
    socket.send({ id: 'a', type: 'complete' })
    await waitForMetrics(scene.gateway, open('websocket', 2), ended('websocket', 'client'))
    await succeed()
    await waitForMetrics(scene.gateway, open('websocket', 0), ended('websocket', 'settled', 2))
  })

  test('over WebSocket: many tasks with the last of them, all tasks of an owner by its client', async () => {
    await using scene = await openScene()
    const { id, succeed } = await scene.submit()
    using socket = await openReadySocket(scene.gateway.url)
    const subscribe = (operation: string, query: string) =>
      socket.send({ id: operation, type: 'subscribe', payload: { query } })
    subscribe('many', `subscription { tasksUpdated(ids: ["${id}", "unknown"]) { status } }`)
    subscribe('none', 'subscription { tasksUpdated(ids: ["unknown"]) { status } }')
    subscribe('all', 'subscription { upscaleTasksChanged { status } }')
    await waitForMetrics(scene.gateway, open('websocket', 2), ended('websocket', 'not_found'))
    await succeed()
    await waitForMetrics(scene.gateway, open('websocket', 1), ended('websocket', 'settled'))
    socket.socket.terminate()
    await waitForMetrics(scene.gateway, open('websocket', 0), ended('websocket', 'client'))
  })

  test('by the expiry of its token, on each transport', async () => {
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET })
    scene.clock.step(Date.now() - scene.clock.now())
    const authorization = `Bearer ${await sign('alice', scene.clock.now() + MINUTE_MS)}`
    const { id } = await scene.submit(authorization)
    using socket = await openReadySocket(scene.gateway.url, { authorization })
    socket.send({ id: '1', type: 'subscribe', payload: { query: FOLLOW, variables: { id } } })
    await socket.next()
    const request = { query: FOLLOW, variables: { id }, headers: { authorization } }
    using stream = await openEventStream(scene.gateway.url, request)
    await stream.next()
    await waitForMetrics(scene.gateway, open('websocket', 1), open('sse', 1))
    scene.clock.advance(MINUTE_MS + 1_000)
    await socket.next()
    scene.clock.advance(1_000)
    await waitForMetrics(
      scene.gateway,
      open('websocket', 0),
      open('sse', 0),
      ended('websocket', 'token_expired'),
      ended('sse', 'token_expired'),
    )
  })

  test('as a router callback, and not for the probe before it', async () => {
    await using router = await startScriptedRouter()
    await using scene = await openScene({ SUBSCRIPTION_CALLBACK_URLS: router.url })
    const { id, succeed } = await scene.submit()
    await fetch(`${scene.gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json;callbackSpec=1.0' },
      body: JSON.stringify({
        query: FOLLOW,
        variables: { id },
        extensions: {
          subscription: {
            callbackUrl: `${router.url}/1`,
            subscriptionId: '1',
            verifier: 'v',
            heartbeatIntervalMs: 0,
          },
        },
      }),
    })
    await router.next('next')
    await waitForMetrics(scene.gateway, open('router_callback', 1))
    await succeed()
    await waitForMetrics(scene.gateway, open('router_callback', 0), ended('router_callback', 'settled'))
    const reasons = (await readMetrics(scene.gateway)).filter((line) =>
      line.startsWith('upscale_streams_ended'),
    )
    expect(reasons).toEqual([ended('router_callback', 'settled')])
  })

  test('when the service stops', async () => {
    await using upstream = await startScriptedUpstream()
    const gateway = await startGateway({ UPSTREAM_URL: upstream.url, METRICS_PORT: '0' })
    const run = (taskId: string) =>
      gateway.run('HTTP', UpscaleImageDocument, { input: { taskId, imageIndex: 0 } })
    const { data } = await run('followed')
    const variables = { id: data?.upscaleImage?.task?.id ?? '' }
    using socket = await openReadySocket(gateway.url)
    socket.send({ id: '1', type: 'subscribe', payload: { query: FOLLOW, variables } })
    using stream = await openEventStream(gateway.url, { query: FOLLOW, variables })
    await stream.next()
    await waitForMetrics(gateway, open('websocket', 1), open('sse', 1))
    // The service waits for this submit before it stops.
    const answered = Promise.withResolvers<() => void>()
    upstream.onCreate = (response, request) =>
      answered.resolve(() => json(200, { code: 402, msg: 'x' })(response, request))
    const running = run('running').catch(() => undefined)
    const answer = await answered.promise
    const stopped = gateway[Symbol.asyncDispose]()
    await waitForMetrics(gateway, ended('websocket', 'going_away'), ended('sse', 'going_away'))
    answer()
    await running
    await stopped
  })
})

describe('a limit of the transports is counted when it refuses', () => {
  const refused = (limit: string) => `upscale_refusals_total{limit="${limit}"} 1`

  test('documents and their cost', async () => {
    await using gateway = await startGateway()
    const many = (count: number, make: (n: number) => string) =>
      Array.from({ length: count }, (_, n) => make(n)).join(' ')
    const documents = {
      tokens: `{ ${many(400, () => 'upscaleService { mode }')} }`,
      depth: `{ ${many(11, () => 'a {')} a ${many(11, () => '}')} }`,
      aliases: `{ upscaleTask(id: "x") { ${many(31, (n) => `b${n}: id`)} } }`,
      alias_length: `{ ${'a'.repeat(101)}: __typename }`,
      root_fields: `{ ${many(21, (n) => `a${n}: upscaleService { mode }`)} }`,
      mutation_fields: 'mutation { a: cancelUpscale(id: "1") { id } b: cancelUpscale(id: "2") { id } }',
      directives: `{ ${many(21, () => '__typename @skip(if: false)')} }`,
      cost: `{ ${many(10, (n) => `a${n}: upscaleTasks(first: 100) { pageInfo { hasNextPage } }`)} }`,
    }
    for (const [limit, query] of Object.entries(documents)) {
      await gateway.run('HTTP', query)
      await waitForMetrics(gateway, refused(limit))
    }
  })

  test('sockets of an owner and of guests, and operations on a socket', async () => {
    const limits = { OWNER_SOCKET_LIMIT: '1', GUEST_SOCKET_LIMIT: '1', SOCKET_OPERATION_LIMIT: '1' }
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET, GUEST_SOCKETS: 'on', ...limits })
    scene.clock.step(Date.now() - scene.clock.now())
    const authorization = `Bearer ${await sign('alice', scene.clock.now() + MINUTE_MS)}`
    const { id, watchToken } = await scene.submit(authorization)
    const { url } = scene.gateway
    using mine = await openReadySocket(url, { authorization })
    using guest = await openReadySocket(url)
    for (const payload of [{ authorization }, {}]) {
      using refusedSocket = await openSocket(url)
      refusedSocket.send({ type: 'connection_init', payload })
      expect(await refusedSocket.closed).toEqual([1013, 'TOO_MANY_SOCKETS'])
    }
    for (const operation of ['1', '2'])
      mine.send({ id: operation, type: 'subscribe', payload: { query: FOLLOW, variables: { id } } })
    await waitForMetrics(
      scene.gateway,
      refused('owner_sockets'),
      refused('guest_sockets'),
      refused('socket_operations'),
    )
    const headers = { authorization }
    using _one = await openEventStream(url, { query: FOLLOW, variables: { id }, headers })
    using _two = await openEventStream(url, { query: FOLLOW, variables: { id }, headers })
    await waitForMetrics(scene.gateway, refused('http_streams'))
    const query = `subscription { taskUpdated(id: "${id}", watchToken: "${watchToken}") { status } }`
    guest.send({ id: '1', type: 'subscribe', payload: { query } })
    await guest.next()
    guest.send({ id: '1', type: 'complete' })
    await waitForMetrics(scene.gateway, refused('guest_sockets'), open('websocket', 1))
  })
})

describe('METRICS_PORT', () => {
  const status = async (url: string | null, path: string) => (await fetch(`${url}${path}`)).status

  test('serves metrics and health, and nothing else, on a port of its own', async () => {
    await using gateway = await startGateway({ METRICS_PORT: '0', CALLBACK_PORT: '0' })
    const { url, callbackUrl, metricsUrl } = gateway
    expect(new Set([url, callbackUrl, metricsUrl]).size).toBe(3)
    for (const path of ['/metrics', '/livez', '/readyz']) expect(await status(metricsUrl, path)).toBe(200)
    expect([await status(url, '/metrics'), await status(callbackUrl, '/metrics')]).toEqual([404, 404])
    expect(await status(metricsUrl, '/graphql?query={__typename}')).toBe(404)
  })

  test('that is not set keeps metrics on PORT in sandbox mode, and serves none in live mode', async () => {
    const live = { UPSTREAM_API_KEY: 'key', UPSTREAM_URL: 'http://127.0.0.1:9', AUTH_JWT_SECRET: SECRET }
    await using sandbox = await startGateway()
    expect(sandbox.metricsUrl).toBe(sandbox.url)
    await using gateway = await startGateway(live)
    expect(await status(gateway.url, '/metrics')).toBe(404)
    expect(gateway.metricsUrl).toBeNull()
    expect(gateway.log()).toContain('METRICS_PORT is not set: /metrics is not served')
    await using served = await startGateway({ ...live, METRICS_PORT: '0' })
    expect(await status(served.metricsUrl, '/metrics')).toBe(200)
  })
})

function sign(subject: string, expiresAt: number): Promise<string> {
  const token = new SignJWT({ sub: subject }).setProtectedHeader({ alg: 'HS256' })
  return token.setExpirationTime(Math.floor(expiresAt / 1_000)).sign(new TextEncoder().encode(SECRET))
}
