import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createClient } from 'graphql-ws'
import { print } from 'graphql'
import { WebSocket } from 'ws'
import { FollowTaskDocument } from '../generated/operations.ts'
import { startProcess } from '../support/process.ts'
import { startScriptedUpstream, json } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

const UPSCALE = 'mutation { upscaleImage(input: {taskId: "source", imageIndex: 0}) { task { id status } } }'
interface Upscaled {
  upscaleImage: { task: { id: string; status: string } }
}

describe('the process', () => {
  let dir: Awaited<ReturnType<typeof openTempDir>>
  beforeEach(async () => {
    dir = await openTempDir()
  })
  afterEach(async () => {
    await dir[Symbol.asyncDispose]()
  })

  const start = (settings: Record<string, string> = {}) =>
    startProcess({ DATABASE_URL: `file:${dir.path}/p.db`, ...settings })

  test('says in what mode it runs, loudly in the sandbox', async () => {
    await using service = await start()
    expect(service.output()).toMatch(/SANDBOX mode: UPSTREAM_API_KEY is not set/)
  })

  test('says in live mode what is paid, what is missing, and not the key', async () => {
    const settings = { UPSTREAM_API_KEY: 'sk-secret', AUTH_MODE: 'none', UPSTREAM_URL: 'http://127.0.0.1:9' }
    await using service = await start(settings)
    expect(service.output()).toMatch(/LIVE mode/)
    expect(service.output()).toMatch(/PUBLIC_URL is not set/)
    expect(service.output()).not.toContain('sk-secret')
  })

  test('refuses bad settings with one message that names all of them, and exit code 1', async () => {
    const bad = { PORT: 'http', UPSTREAM_TIMEOUT_MS: '-1', GRAPHIQL: 'maybe', UPSTREAM_API_KEY: 'k' }
    await using service = await start(bad)
    expect(await service.exited).toEqual({ code: 1, signal: null })
    for (const name of ['PORT', 'UPSTREAM_TIMEOUT_MS', 'GRAPHIQL', 'AUTH_MODE'])
      expect(service.output()).toContain(name)
    expect(service.output()).not.toMatch(/\bat .*\.js/)
  })

  test('says so and ends with exit code 1 when its port is taken', async () => {
    await using first = await start()
    const settings = { PORT: new URL(first.url).port, DATABASE_URL: `file:${dir.path}/other.db` }
    await using second = await start(settings)
    expect(await second.exited).toMatchObject({ code: 1 })
    expect(second.output()).toContain('EADDRINUSE')
  })

  test('refuses a SQLite file that another process serves, also after a kill -9 of a third, and says what to do', async () => {
    await using killed = await start()
    killed.child.kill('SIGKILL')
    await killed.exited
    await using first = await start()
    await using second = await start()
    expect(await second.exited).toMatchObject({ code: 1 })
    expect(second.output()).toMatch(/Another process serves .*p\.db.*DATABASE_URL=postgres/)
    expect(second.output()).not.toMatch(/\bat .*\.js/)
    expect((await fetch(`${first.url}/readyz`)).status).toBe(200)
  })

  test('refuses new sockets while it stops, and does not wait for them', async () => {
    await using upstream = await startScriptedUpstream()
    const asked = Promise.withResolvers<() => void>()
    const created = json(200, { code: 200, msg: 'success', data: { taskId: 'upstream-1' } })
    upstream.onCreate = (response, request) => asked.resolve(() => created(response, request))
    await using service = await start({ UPSTREAM_URL: upstream.url, DRAIN_MS: '60000' })
    const submit = service.run(UPSCALE)
    const answer = await asked.promise
    const stopping = service.logged('SIGTERM: stopping')
    service.child.kill('SIGTERM')
    await stopping
    const socket = new WebSocket(`${service.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws')
    const [error] = (await once(socket, 'error')) as [Error]
    expect(error.message).toBe('Unexpected server response: 503')
    answer()
    expect(await submit).toMatchObject({ data: { upscaleImage: { task: { status: 'PROCESSING' } } } })
    expect(await service.exited).toEqual({ code: 0, signal: null })
  })

  test.each(['SIGINT', 'SIGTERM'] as const)(
    '%s closes subscriptions with 1001 and ends with exit code 0',
    async (signal) => {
      await using upstream = await startScriptedUpstream()
      await using service = await start({ UPSTREAM_URL: upstream.url })
      const { data } = (await service.run(UPSCALE)) as { data: Upscaled }
      const closed = Promise.withResolvers<unknown>()
      const client = createClient({
        url: `${service.url.replace('http', 'ws')}/graphql`,
        webSocketImpl: WebSocket,
        retryAttempts: 0,
        on: { closed: (event) => closed.resolve((event as CloseEvent).code) },
      })
      const { id } = data.upscaleImage.task
      const stream = client.iterate({ query: print(FollowTaskDocument), variables: { id } })
      await stream.next()
      const ended = stream.next().catch((event: unknown) => event)
      service.child.kill(signal)
      expect(await closed.promise).toBe(1001)
      await ended
      expect(await service.exited).toEqual({ code: 0, signal: null })
    },
  )

  test('a mutation under way when the process is told to end is finished and answered', async () => {
    await using upstream = await startScriptedUpstream()
    const asked = Promise.withResolvers<void>()
    const told = Promise.withResolvers<void>()
    upstream.onCreate = (response, request) => {
      asked.resolve()
      const answer = json(200, { code: 200, data: { taskId: 'upstream-1' } })
      void told.promise.then(() => answer(response, request))
    }
    await using service = await start({ UPSTREAM_URL: upstream.url })
    const answer = service.run(UPSCALE)
    await asked.promise
    void service.logged('stopping').then(told.resolve)
    service.child.kill('SIGTERM')
    expect(await answer).toMatchObject({ data: { upscaleImage: { task: { status: 'PROCESSING' } } } })
    expect(await service.exited).toEqual({ code: 0, signal: null })
  })

  test('an upstream that never answers does not hold up the end: the task waits, SUBMITTED', async () => {
    await using upstream = await startScriptedUpstream()
    const asked = Promise.withResolvers<void>()
    upstream.onCreate = () => asked.resolve()
    await using service = await start({ UPSTREAM_URL: upstream.url, DRAIN_MS: '50' })
    const answer = service.run(UPSCALE)
    await asked.promise
    service.child.kill('SIGTERM')
    expect(await answer).toMatchObject({ data: { upscaleImage: { task: { status: 'SUBMITTED' } } } })
    expect(await service.exited).toEqual({ code: 0, signal: null })
  })

  test('clients that hold a connection without a whole request do not hold up the end', async () => {
    await using service = await start()
    const { port } = new URL(service.url)
    const held = [
      '',
      'GET /livez HTTP/1.1\r\nHost: x',
      'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{',
    ]
    const sockets = await Promise.all(
      held.map(async (bytes) => {
        const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined)
        await once(socket, 'connect')
        socket.write(bytes)
        return socket
      }),
    )
    await service.run('{ __typename }')
    service.child.kill('SIGTERM')
    expect(await service.exited).toEqual({ code: 0, signal: null })
    for (const socket of sockets) socket.destroy()
  })
})
