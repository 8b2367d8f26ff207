import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, test } from '@jest/globals'
import { createClient } from 'graphql-sse'
import { SignJWT } from 'jose'
import { openEventStream } from '../support/event-stream.ts'
import { openScene } from '../support/scene.ts'

interface Shown {
  data: { taskUpdated: { version: number; status: string } | null }
  errors?: { message: string; extensions: Record<string, unknown> }[]
}

const FOLLOW = `subscription Follow($id: ID!, $afterVersion: Int, $watchToken: String) {
  taskUpdated(id: $id, afterVersion: $afterVersion, watchToken: $watchToken) { status version images { url } problem { code } }
}`
const SECRET = 'a secret that is long enough for HS256'

async function sign(sub: string, expiresInS = 600): Promise<string> {
  const token = await new SignJWT({ sub })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime(Math.floor(Date.now() / 1_000) + expiresInS)
    .sign(new TextEncoder().encode(SECRET))
  return `Bearer ${token}`
}

const turn = () => new Promise(setImmediate)

describe('/graphql/stream', () => {
  test.each(['GET', 'POST'] as const)(
    'shows a task over %s until it has settled, each event with the version as its id',
    async (method) => {
      await using scene = await openScene()
      const { id, succeed } = await scene.submit()
      using stream = await openEventStream<Shown>(scene.gateway.url, {
        query: FOLLOW,
        variables: { id },
        method,
      })
      expect(stream.response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
      expect(stream.response.headers.get('x-accel-buffering')).toBe('no')
      expect(await stream.next()).toMatchObject({
        event: 'next',
        id: '2',
        data: { data: { taskUpdated: { status: 'PROCESSING', version: 2 } } },
      })
      await succeed()
      expect(await stream.next()).toMatchObject({
        event: 'next',
        id: '3',
        data: { data: { taskUpdated: { status: 'SUCCEEDED', version: 3 } } },
      })
      expect(await stream.all()).toEqual([{ event: 'complete' }])
    },
  )

  test('goes on after the version in Last-Event-ID, whatever the URL says', async () => {
    await using scene = await openScene()
    const { id, succeed } = await scene.submit()
    await succeed()
    const events = async (lastEventId: string) => {
      using stream = await openEventStream<Shown>(scene.gateway.url, {
        query: FOLLOW,
        variables: { id, afterVersion: 1 },
        method: 'GET',
        headers: { 'last-event-id': lastEventId },
      })
      return (await stream.all()).map((each) => each.id ?? each.event)
    }
    expect(await events('3')).toEqual(['complete'])
    expect(await events('2')).toEqual(['3', 'complete'])
    expect(await events('nonsense')).toEqual(['3', 'complete'])
  })

  test('an id stands at an event although the client does not ask for the version', async () => {
    await using scene = await openScene()
    const { id, succeed } = await scene.submit()
    await succeed()
    const query = `subscription { renamed: taskUpdated(id: "${id}") { status } }`
    using stream = await openEventStream(scene.gateway.url, { query })
    expect(await stream.next()).toEqual({
      event: 'next',
      id: '3',
      data: { data: { renamed: { status: 'SUCCEEDED' } } },
    })
  })

  test('serves the client of its library: subscriptions, queries and mutations', async () => {
    await using scene = await openScene()
    const { id, succeed } = await scene.submit()
    const client = createClient({ url: `${scene.gateway.url}/graphql/stream`, retryAttempts: 0 })
    const events = client.iterate<Shown['data']>({ query: FOLLOW, variables: { id } })
    expect((await events.next()).value).toMatchObject({ data: { taskUpdated: { version: 2 } } })
    await succeed()
    expect((await events.next()).value).toMatchObject({ data: { taskUpdated: { version: 3 } } })
    expect((await events.next()).done).toBe(true)
    const query = client.iterate({ query: '{ upscaleService { mode } }' })
    expect((await query.next()).value).toEqual({ data: { upscaleService: { mode: 'SANDBOX' } } })
    const mutation = client.iterate({
      query: 'mutation { upscaleImage(input: { taskId: "source", imageIndex: 0 }) { replayed } }',
    })
    expect((await mutation.next()).value).toEqual({ data: { upscaleImage: { replayed: true } } })
    client.dispose()
  })

  test('has the same guards as the other transports', async () => {
    await using scene = await openScene()
    const code = async (query: string, variables = {}) => {
      using stream = await openEventStream<Shown>(scene.gateway.url, { query, variables })
      const [first, last] = await stream.all()
      expect(last).toEqual({ event: 'complete' })
      return first?.data?.errors?.[0]?.extensions
    }
    const shared = { retryable: false, retryAfterMs: null, upstreamCode: null }
    expect(await code('{ nonsense')).toMatchObject({ ...shared, code: 'GRAPHQL_PARSE_FAILED' })
    expect(await code('{ nonsense }')).toMatchObject({ ...shared, code: 'GRAPHQL_VALIDATION_FAILED' })
    expect(await code(FOLLOW, { id: 'nobody' })).toEqual({
      ...shared,
      code: 'TASK_NOT_FOUND',
      taskId: 'nobody',
      correlationId: expect.any(String),
    })
    expect(await code(FOLLOW, {})).toMatchObject({ code: 'BAD_USER_INPUT', field: 'id' })
    const aliases = Array.from({ length: 31 }, (_, n) => `a${n}: __typename`).join(' ')
    expect(await code(`{ ${aliases} }`)).toMatchObject({ code: 'GRAPHQL_VALIDATION_FAILED' })
  })

  test('takes no mutation by GET, no form or text for JSON, and nothing but event streams', async () => {
    await using scene = await openScene()
    const url = `${scene.gateway.url}/graphql/stream`
    const mutation = 'mutation { upscaleImage(input: { taskId: "a", imageIndex: 0 }) { replayed } }'
    const accept = { accept: 'text/event-stream' }
    const answers = [
      await fetch(`${url}?query=${encodeURIComponent(mutation)}`, { headers: accept }),
      await fetch(url, {
        method: 'POST',
        headers: { ...accept, 'content-type': 'text/plain; application/json' },
        body: JSON.stringify({ query: mutation }),
      }),
      await fetch(`${url}?query=${encodeURIComponent('{ __typename }')}`),
      await fetch(url, { headers: accept }),
      await fetch(url, { method: 'PUT', headers: accept }),
    ]
    expect(answers.map(({ status }) => status)).toEqual([405, 415, 406, 400, 404])
    for (const answer of answers)
      expect(await answer.json()).toEqual({
        errors: [
          { message: expect.any(String), extensions: expect.objectContaining({ code: expect.any(String) }) },
        ],
      })
    expect(scene.upstream.received).toEqual([])
  })

  test('lets in by bearer token only, and each owner to their own tasks', async () => {
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET })
    const authorization = await sign('alice')
    const { id } = await scene.submit(authorization)
    for (const headers of [{}, { authorization: 'Bearer nonsense' }]) {
      using stream = await openEventStream(scene.gateway.url, {
        query: '{ upscaleErrors { code } }',
        headers,
      })
      expect([stream.response.status, stream.response.headers.get('www-authenticate')]).toEqual([
        401,
        'Bearer',
      ])
    }
    for (const [sub, version] of [
      ['alice', 2],
      ['bob', undefined],
    ] as const) {
      const headers = { authorization: await sign(sub) }
      using stream = await openEventStream<Shown>(scene.gateway.url, {
        query: FOLLOW,
        variables: { id },
        headers,
      })
      expect((await stream.next())?.data?.data.taskUpdated?.version).toBe(version)
    }
  })

  test('ends at the expiry of the token with UNAUTHENTICATED', async () => {
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET })
    const { id } = await scene.submit(await sign('alice'))
    const headers = { authorization: await sign('alice') }
    using stream = await openEventStream<Shown>(scene.gateway.url, {
      query: FOLLOW,
      variables: { id },
      headers,
    })
    expect((await stream.next())?.id).toBe('2')
    const end = stream.next()
    while (scene.clock.pending === 0) await turn()
    // Past the expiry on the clock of the watch; the token itself was verified by the real one.
    scene.clock.advance(Date.now() - scene.clock.now() + 600_000)
    expect((await end)?.data).toMatchObject({
      data: { taskUpdated: null },
      errors: [{ extensions: { code: 'UNAUTHENTICATED', taskId: id } }],
    })
    expect(await stream.all()).toEqual([{ event: 'complete' }])
  })

  test('lets no owner run more streams than SOCKET_OPERATION_LIMIT, and forgets those who have left', async () => {
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET, SOCKET_OPERATION_LIMIT: '1' })
    const { id } = await scene.submit(await sign('alice'))
    const headers = { authorization: await sign('alice') }
    const open = () =>
      openEventStream<Shown>(scene.gateway.url, { query: FOLLOW, variables: { id }, headers })
    {
      using first = await open()
      expect((await first.next())?.id).toBe('2')
      using second = await open()
      expect((await second.next())?.data?.errors).toMatchObject([
        { extensions: { code: 'TOO_MANY_OPERATIONS' } },
      ])
    }
    const metric = async () => {
      const text = await (await fetch(`${scene.gateway.url}/metrics`)).text()
      return /^upscale_http_streams_open (\d+)$/m.exec(text)?.[1]
    }
    while ((await metric()) !== '0') await turn()
    using third = await open()
    expect((await third.next())?.id).toBe('2')
  })

  test('nothing stays of clients that leave at any moment', async () => {
    await using scene = await openScene()
    const { id, watchToken } = await scene.submit()
    const { hostname, port } = new URL(scene.gateway.url)
    const body = JSON.stringify({ query: FOLLOW, variables: { id, watchToken } })
    const head = [
      'POST /graphql/stream HTTP/1.1',
      `Host: ${hostname}:${port}`,
      'Accept: text/event-stream',
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
    ]
    for (let turns = 0; turns < 40; turns += 1) {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => undefined)
      await once(socket, 'connect')
      socket.write(`${head.join('\r\n')}\r\n\r\n${body}`)
      for (let n = 0; n < turns / 2; n += 1) await turn()
      socket.destroy()
    }
    const metric = async () => {
      const text = await (await fetch(`${scene.gateway.url}/metrics`)).text()
      return /^upscale_http_streams_open (\d+)$/m.exec(text)?.[1]
    }
    // Those that were sent last have been read by the time this one is answered.
    using last = await openEventStream<Shown>(scene.gateway.url, { query: FOLLOW, variables: { id } })
    await last.next()
    while ((await metric()) !== '1') await turn()
  })

  test('breaks off without a complete when the service stops, so that the client goes elsewhere', async () => {
    const scene = await openScene()
    const { id } = await scene.submit()
    using stream = await openEventStream<Shown>(scene.gateway.url, { query: FOLLOW, variables: { id } })
    expect((await stream.next())?.id).toBe('2')
    const rest = stream.all()
    const expected = expect(rest).rejects.toThrow('terminated')
    await scene[Symbol.asyncDispose]()
    await expected
  })
})
