import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createClient } from 'graphql-ws'
import { print } from 'graphql'
import { WebSocket } from 'ws'
import { FollowTaskDocument } from '../generated/operations.ts'
import { startScriptedUpstream, json } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

/** The built service as a process of its own: `npm test` builds before it tests. */
async function start(settings: Record<string, string>) {
  const child = spawn(process.execPath, ['dist/main.js'], { env: { PORT: '0', ...settings }, stdio: 'pipe' })
  const exited = once(child, 'exit').then(([code, signal]) => ({
    code: code as number,
    signal: signal as string,
  }))
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const ready = new Promise<string>((resolve) => {
    createInterface(child.stdout).on('line', (line) => {
      output += `${line}\n`
      const url = /GraphQL at (http:\/\/[\d.:]+)/.exec(line)?.[1]
      if (url !== undefined) resolve(url)
    })
  })
  const url = await Promise.race([ready, exited.then(() => '')])
  return { child, url, exited, output: () => output }
}

const running = new Set<ChildProcess>()
let dir: Awaited<ReturnType<typeof openTempDir>>
beforeEach(async () => {
  dir = await openTempDir()
})
afterEach(async () => {
  for (const child of running) child.kill('SIGKILL')
  running.clear()
  await dir[Symbol.asyncDispose]()
})

async function startService(settings: Record<string, string> = {}) {
  const service = await start({ DATABASE_URL: `file:${dir.path}/p.db`, ...settings })
  running.add(service.child)
  return service
}

async function run(url: string, query: string): Promise<unknown> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${url}/graphql`, { method: 'POST', headers, body: JSON.stringify({ query }) })
  return response.json()
}

const UPSCALE = 'mutation { upscaleImage(input: {taskId: "source", imageIndex: 0}) { task { id status } } }'

describe('the process', () => {
  test('says in what mode it runs, loudly in the sandbox', async () => {
    const { output } = await startService()
    expect(output()).toMatch(/SANDBOX mode: no UPSTREAM_API_KEY is set/)
  })

  test('says in live mode what is paid, what is missing, and not the key', async () => {
    const settings = { UPSTREAM_API_KEY: 'sk-secret', AUTH_MODE: 'none', UPSTREAM_URL: 'http://127.0.0.1:9' }
    const { output } = await startService(settings)
    expect(output()).toMatch(/LIVE mode/)
    expect(output()).toMatch(/PUBLIC_URL is not set/)
    expect(output()).not.toContain('sk-secret')
  })

  test('refuses bad settings with one message that names all of them, and exit code 1', async () => {
    const service = await startService({
      PORT: 'http',
      UPSTREAM_TIMEOUT_MS: '-1',
      GRAPHIQL: 'maybe',
      UPSTREAM_API_KEY: 'k',
    })
    expect(await service.exited).toEqual({ code: 1, signal: null })
    for (const name of ['PORT', 'UPSTREAM_TIMEOUT_MS', 'GRAPHIQL', 'AUTH_MODE'])
      expect(service.output()).toContain(name)
    expect(service.output()).not.toMatch(/\bat .*\.js/)
  })

  test('says so and ends with exit code 1 when its port is taken', async () => {
    const first = await startService()
    const second = await startService({
      PORT: new URL(first.url).port,
      DATABASE_URL: `file:${dir.path}/other.db`,
    })
    expect(await second.exited).toMatchObject({ code: 1 })
    expect(second.output()).toContain('EADDRINUSE')
  })

  test.each(['SIGINT', 'SIGTERM'] as const)(
    '%s closes subscriptions with 1001 and ends with exit code 0',
    async (signal) => {
      await using upstream = await startScriptedUpstream()
      const service = await startService({ UPSTREAM_URL: upstream.url })
      const { data } = (await run(service.url, UPSCALE)) as {
        data: { upscaleImage: { task: { id: string } } }
      }
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
      void told.promise.then(() =>
        json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request),
      )
    }
    const service = await startService({ UPSTREAM_URL: upstream.url })
    const answer = run(service.url, UPSCALE)
    await asked.promise
    service.child.kill('SIGTERM')
    createInterface(service.child.stdout).on('line', (line) => line.includes('stopping') && told.resolve())
    expect(await answer).toMatchObject({ data: { upscaleImage: { task: { status: 'PROCESSING' } } } })
    expect(await service.exited).toEqual({ code: 0, signal: null })
  })

  test('an upstream that never answers does not hold up the end: the task waits, SUBMITTED, for the next start', async () => {
    await using upstream = await startScriptedUpstream()
    const asked = Promise.withResolvers<void>()
    upstream.onCreate = () => asked.resolve()
    const service = await startService({ UPSTREAM_URL: upstream.url, DRAIN_MS: '50' })
    const answer = run(service.url, UPSCALE)
    await asked.promise
    service.child.kill('SIGTERM')
    expect(await answer).toMatchObject({ data: { upscaleImage: { task: { status: 'SUBMITTED' } } } })
    expect(await service.exited).toEqual({ code: 0, signal: null })

    const next = await startService({ UPSTREAM_URL: upstream.url })
    const { data } = (await run(next.url, '{ upscaleTasks { edges { node { id status } } } }')) as never
    expect(data).toMatchObject({ upscaleTasks: { edges: [{ node: { status: 'SUBMITTED' } }] } })
    const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
    const url = callBackUrl.replace(service.url, next.url)
    const body = JSON.stringify({
      code: 200,
      data: { taskId: 'u', resultUrls: ['https://example.com/a.png'] },
    })
    expect((await fetch(url, { method: 'POST', body })).status).toBe(200)
    expect(await run(next.url, '{ upscaleTasks { edges { node { status } } } }')).toMatchObject({
      data: { upscaleTasks: { edges: [{ node: { status: 'SUCCEEDED' } }] } },
    })
  })
})
