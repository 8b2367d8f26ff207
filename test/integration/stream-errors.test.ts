import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { SignJWT } from 'jose'
import { openEventStream } from '../support/event-stream.ts'
import { startScriptedRouter, type ScriptedRouter } from '../support/router.ts'
import { openScene } from '../support/scene.ts'
import { openTaskStream, STREAM_TRANSPORTS, type TaskStream } from '../support/task-stream.ts'

const SECRET = 'a secret that is long enough for HS256'
const sign = async (sub: string) =>
  `Bearer ${await new SignJWT({ sub }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h').sign(new TextEncoder().encode(SECRET))}`

/** All streams, each on one task. */
const STREAMS = [
  ['taskUpdated', 'subscription ($id: ID!) { taskUpdated(id: $id) { id version } }'],
  ['tasksUpdated', 'subscription ($id: ID!) { tasksUpdated(ids: [$id]) { id version } }'],
  ['upscaleTasksChanged', 'subscription { upscaleTasksChanged { id version } }'],
] as const

const WATCH = `subscription ($id: ID!, $watchToken: String!) {
  followed: taskUpdated(id: $id, watchToken: $watchToken) { id version }
}`

/** An event whose error has no path: the field of the data is null. */
const toEvent = (field: string, code: string, taskId: unknown = null) => ({
  data: { [field]: null },
  errors: [
    {
      message: expect.any(String),
      extensions: expect.objectContaining({ code, taskId, correlationId: expect.any(String) }),
    },
  ],
})

/** Router callbacks do not have them. */
const withoutLocations = (payload: Awaited<ReturnType<TaskStream['next']>>) =>
  payload?.errors
    ? { ...payload, errors: payload.errors.map((error) => ({ ...error, locations: undefined })) }
    : payload

/** Without `Last-Event-ID`, so that the first state is sent. */
async function openOnEventStream(request: {
  readonly url: string
  readonly query: string
  readonly variables: Record<string, unknown>
  readonly authorization: string | null
}): Promise<TaskStream> {
  const { url, query, variables, authorization } = request
  const headers = authorization === null ? {} : { authorization }
  const stream = await openEventStream<Awaited<ReturnType<TaskStream['next']>>>(url, {
    query,
    variables,
    headers,
  })
  return {
    next: async () => (await stream.next())?.data,
    [Symbol.asyncDispose]() {
      stream[Symbol.dispose]()
      return Promise.resolve()
    },
  }
}

describe.each(STREAM_TRANSPORTS)('the error of a stream over %s has no path', (transport) => {
  let router: ScriptedRouter
  let scene: Awaited<ReturnType<typeof openScene>>
  let alice: string
  let taskId: string
  let watchToken: string | null
  beforeEach(async () => {
    router = await startScriptedRouter()
    scene = await openScene({
      AUTH_JWT_SECRET: SECRET,
      SUBSCRIPTION_CALLBACK_URLS: `${router.url}/callback`,
      WATCH_TOKEN_SECRETS: 'a secret for watch tokens that is long enough',
    })
    scene.clock.advance(Date.now() - scene.clock.now())
    alice = await sign('alice')
    ;({ id: taskId, watchToken } = await scene.submit(alice))
  })
  afterEach(async () => {
    await scene[Symbol.asyncDispose]()
    await router[Symbol.asyncDispose]()
  })

  const open = async (query: string, variables: Record<string, unknown>, authorization: string | null) => {
    const request = { url: scene.gateway.url, query, variables, authorization }
    const stream = await (transport === 'server-sent events'
      ? openOnEventStream(request)
      : openTaskStream(transport, request, router))
    const next = async () => withoutLocations(await stream.next())
    return {
      next,
      /** The next payload that has errors; states are sent again while the clock advances. */
      async nextError() {
        let payload = await next()
        while (payload && payload.errors === undefined) payload = await next()
        return payload
      },
      [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
    }
  }

  test.each(STREAMS.slice(0, 2))('%s of an unknown task', async (field, query) => {
    await using stream = await open(query, { id: 'unknown' }, alice)
    expect(await stream.next()).toEqual(toEvent(field, 'TASK_NOT_FOUND', 'unknown'))
    expect(await stream.next()).toBeUndefined()
  })

  test('tasksUpdated that is refused', async () => {
    await using stream = await open('subscription { tasksUpdated(ids: []) { id } }', {}, alice)
    expect(await stream.next()).toEqual({ errors: toEvent('', 'BAD_USER_INPUT').errors })
  })

  if (transport === 'WebSocket')
    test('taskUpdated whose watch token expires', async () => {
      await using stream = await open(WATCH, { id: taskId, watchToken }, await sign('guest'))
      expect(await stream.next()).toMatchObject({ data: { followed: { version: 2 } } })
      scene.clock.advance(3_601_000)
      expect(await stream.nextError()).toEqual(toEvent('followed', 'UNAUTHENTICATED', taskId))
    })
  else
    test.each(STREAMS)('%s whose token expires', async (field, query) => {
      await using stream = await open(query, { id: taskId }, alice)
      expect(await stream.next()).toMatchObject({ data: { [field]: { version: 2 } } })
      scene.clock.advance(3_601_000)
      expect(await stream.nextError()).toEqual(
        toEvent(field, 'UNAUTHENTICATED', field === 'taskUpdated' ? taskId : null),
      )
      expect(await stream.next()).toBeUndefined()
    })

  // Sockets are closed with 1001, event streams are cut off.
  if (transport === 'router callbacks')
    test.each(STREAMS)('%s when the replica stops', async (field, query) => {
      await using stream = await open(query, { id: taskId }, alice)
      expect(await stream.next()).toMatchObject({ data: { [field]: { version: 2 } } })
      await scene[Symbol.asyncDispose]()
      expect(await stream.next()).toEqual(
        toEvent(field, 'SERVICE_UNAVAILABLE', field === 'taskUpdated' ? taskId : null),
      )
      expect(await stream.next()).toBeUndefined()
    })
})
