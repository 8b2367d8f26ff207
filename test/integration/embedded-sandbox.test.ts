import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { print } from 'graphql'
import { createClient } from 'graphql-ws'
import { SignJWT } from 'jose'
import { WebSocket } from 'ws'
import { FollowTaskDocument, GetTaskDocument, UpscaleImageDocument } from '../generated/operations.ts'
import { ManualClock } from '../support/clock.ts'
import { openTestDatabase } from '../support/database.ts'
import { collect, startGateway, type Gateway } from '../support/gateway.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'

/** Submits an upscale; resolves to the id of the task. */
async function submit(gateway: Gateway, taskId: string): Promise<string> {
  const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input: { taskId, imageIndex: 0 } })
  return data?.upscaleImage?.task?.id ?? 'no task'
}

/** Follows a task to its end. */
async function settle(gateway: Gateway, id: string) {
  const states = await collect(gateway.follow(FollowTaskDocument, { id }))
  return states.at(-1)?.data?.taskUpdated
}

describe('the embedded sandbox', () => {
  test.each(['Bearer any-key', 'Bearer sandbox', ''])(
    'accepts the key of its own gateway only, and sends nothing for others: "%s"',
    async (authorization) => {
      await using other = await startScriptedUpstream()
      await using gateway = await startGateway()
      const create = await fetch(`${gateway.url}/sandbox/api/v1/mj/generateUpscale`, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json' },
        body: JSON.stringify({ taskId: 'sandbox-early', imageIndex: 0, callBackUrl: `${other.url}/hook` }),
      })
      expect(await create.json()).toEqual({ code: 401, msg: 'Unauthorized', data: null })
      for (const path of ['api/v1/chat/credit', '%61pi/v1/chat/credit', 'api/v1/mj/record-info?taskId=x']) {
        const response = await fetch(`${gateway.url}/sandbox/${path}`, { headers: { authorization } })
        expect(await response.json()).toMatchObject({ code: 401 })
      }
      // The gateway still submits its own tasks. The callback of sandbox-early would arrive before the
      // answer.
      expect(await settle(gateway, await submit(gateway, 'source'))).toMatchObject({ status: 'SUCCEEDED' })
      expect(other.received).toEqual([])
    },
  )

  test('completes by callback, after a restart, what was pending', async () => {
    await using database = await openTestDatabase()
    const before = await startGateway({ DATABASE_URL: database.url })
    const id = await submit(before, 'sandbox-late-1')
    const { port } = new URL(before.url)
    await before[Symbol.asyncDispose]()

    await using after = await startGateway({ DATABASE_URL: database.url, PORT: port })
    expect(await settle(after, id)).toMatchObject({ status: 'SUCCEEDED' })
    const { data } = await after.run('HTTP', `{ upscaleTask(id: "${id}") { history { source } } }`)
    expect(JSON.stringify(data)).toContain('CALLBACK')
  })

  test('is still polled for its tasks after a restart on another port, or by another replica', async () => {
    await using database = await openTestDatabase()
    const settings = { DATABASE_URL: database.url, POLL_INTERVAL_MS: '100' }
    const before = await startGateway(settings)
    const [late, slow] = [await submit(before, 'sandbox-late-1'), await submit(before, 'sandbox-late-60')]
    await before[Symbol.asyncDispose]()
    await using after = await startGateway(settings)
    expect(await settle(after, late)).toMatchObject({ status: 'SUCCEEDED' })
    const { data } = await after.run('HTTP', GetTaskDocument, { id: slow })
    expect(data?.upscaleTask).toMatchObject({ status: 'PROCESSING' })
  })
})

describe('what a proxy answers in the place of the upstream', () => {
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await startGateway()
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
  })
  const upscale = (taskId: string) =>
    gateway.run('HTTP', UpscaleImageDocument, { input: { taskId, imageIndex: 0 } })

  test.each([
    ...[200, 500, 502, 504, 520, 524].flatMap((n) => [`sandbox-html-${n}`, `sandbox-empty-${n}`]),
    'sandbox-empty',
    'sandbox-no-id',
  ])('%s leaves the task SUBMITTED until the callback comes', async (taskId) => {
    const { data } = await upscale(taskId)
    expect(data?.upscaleImage).toMatchObject({ task: { status: 'SUBMITTED' }, problem: null })
    expect(await settle(gateway, data?.upscaleImage?.task?.id ?? '')).toMatchObject({ status: 'SUCCEEDED' })
  })

  test.each([
    [429, 'UPSTREAM_RATE_LIMITED', 20_000],
    [503, 'UPSTREAM_MAINTENANCE', 20_000],
    [521, 'UPSTREAM_UNREACHABLE', expect.any(Number)],
    [522, 'UPSTREAM_UNREACHABLE', expect.any(Number)],
    [523, 'UPSTREAM_UNREACHABLE', expect.any(Number)],
  ])('sandbox-html-%i is a refusal that can be tried again: %s', async (status, code, retryAfterMs) => {
    const { data } = await upscale(`sandbox-html-${status}`)
    expect(data?.upscaleImage?.problem).toMatchObject({ code, retryable: true, retryAfterMs })
  })
})

describe('a busy upstream, as the embedded sandbox simulates it', () => {
  const problemOf = async (gateway: Gateway, taskId: string) => {
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input: { taskId, imageIndex: 0 } })
    return data?.upscaleImage?.problem ?? null
  }

  test('sandbox-busy-1 is UPSTREAM_RATE_LIMITED once, then accepted', async () => {
    await using gateway = await startGateway()
    expect(await problemOf(gateway, 'sandbox-busy-1')).toMatchObject({ code: 'UPSTREAM_RATE_LIMITED' })
    expect(await problemOf(gateway, 'sandbox-busy-1')).toBeNull()
  })

  test("SANDBOX_RATE_LIMIT is the account's limit, on the clock of the service", async () => {
    const clock = new ManualClock()
    await using gateway = await startGateway({ SANDBOX_RATE_LIMIT: '1/10s' }, { clock })
    expect(await problemOf(gateway, 'source-1')).toBeNull()
    clock.advance(3_000)
    const limited = { code: 'UPSTREAM_RATE_LIMITED', upstreamCode: 429, retryAfterMs: 7_000 }
    expect(await problemOf(gateway, 'source-2')).toMatchObject(limited)
    clock.advance(7_000)
    expect(await problemOf(gateway, 'source-2')).toBeNull()
  })
})

describe('the pictures of the embedded sandbox', () => {
  const MUTATION = 'mutation { upscaleImage(input: { taskId: "source", imageIndex: 2 }) { task { id } } }'

  async function pictureOf(gateway: Gateway, id: string): Promise<string | undefined> {
    return (await settle(gateway, id))?.images?.[0]?.url
  }

  test('are under PUBLIC_URL', async () => {
    const settings = { PUBLIC_URL: 'https://gateway.invalid/upscale', POLL_INTERVAL_MS: '50' }
    await using gateway = await startGateway(settings)
    expect(await pictureOf(gateway, await submit(gateway, 'source'))).toBe(
      'https://gateway.invalid/upscale/sandbox/upscaled/0.png?source=source',
    )
  })

  test('are under the own address where PUBLIC_URL is that of CALLBACK_PORT', async () => {
    const settings = { PUBLIC_URL: 'https://callbacks.invalid', CALLBACK_PORT: '0', POLL_INTERVAL_MS: '50' }
    await using gateway = await startGateway(settings)
    expect(await pictureOf(gateway, await submit(gateway, 'source'))).toBe(
      `${gateway.url}/sandbox/upscaled/0.png?source=source`,
    )
  })

  test('are on all addresses under the host that the client has asked for', async () => {
    await using gateway = await startGateway({ HOST: '0.0.0.0' })
    const answer = await post(gateway, { host: 'upscale.example:8443' }, MUTATION)
    const { data } = JSON.parse(answer) as { data: Upscaled }
    expect(await pictureOf(gateway, data.upscaleImage.task.id)).toBe(
      'http://upscale.example:8443/sandbox/upscaled/2.png?source=source',
    )
  })

  test('are not under a host that a caller without a token has asked for', async () => {
    const secret = 'a-secret-of-at-least-thirty-two-bytes'
    await using gateway = await startGateway({ HOST: '0.0.0.0', AUTH_JWT_SECRET: secret })
    const token = await new SignJWT({ sub: 'ann' })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(secret))
    const authorization = `Bearer ${token}`
    await post(gateway, { host: 'upscale.example', authorization }, '{ __typename }')
    expect(await post(gateway, { host: 'evil.example' }, '{ __typename }')).toContain('UNAUTHENTICATED')

    const client = createClient({
      url: `${gateway.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization },
    })
    const first = client.iterate<Upscaled>({ query: MUTATION }).next()
    const { value } = (await first) as IteratorYieldResult<{ data: Upscaled }>
    const follow = { query: print(FollowTaskDocument), variables: { id: value.data.upscaleImage.task.id } }
    const states = await collect(client.iterate(follow))
    await client.dispose()
    expect(JSON.stringify(states.at(-1))).toContain('"http://upscale.example/sandbox/upscaled/2.png')
  })
})

interface Upscaled {
  readonly upscaleImage: { readonly task: { readonly id: string } }
}

/** Posts a query, under any Host; resolves to the body of the answer. */
async function post(gateway: Gateway, headers: Record<string, string>, query: string): Promise<string> {
  const request = httpRequest({
    port: new URL(gateway.url).port,
    method: 'POST',
    path: '/graphql',
    headers: { 'content-type': 'application/json', ...headers },
  })
  const answered = once(request, 'response')
  request.end(JSON.stringify({ query }))
  const [response] = (await answered) as [IncomingMessage]
  return text(response)
}
