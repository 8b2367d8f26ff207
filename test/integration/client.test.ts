import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { describe, expect, test } from '@jest/globals'
import { MessageType } from 'graphql-ws'
import { SignJWT } from 'jose'
import { WebSocketServer } from 'ws'
import { followTask } from '../../client/src/index.ts'
import { connect } from '../support/frontend.ts'
import { startPlayedStreams } from '../support/played-streams.ts'
import { startProcess } from '../support/process.ts'
import { startSilentProxy } from '../support/proxy.ts'
import { openScene, RESULT } from '../support/scene.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

const SECRET = 'a secret that is long enough for HS256'

async function sign(expiresInS: number): Promise<string> {
  const token = await new SignJWT({ sub: 'alice' })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime(Math.floor(Date.now() / 1_000) + expiresInS)
    .sign(new TextEncoder().encode(SECRET))
  return `Bearer ${token}`
}

async function findPort(): Promise<string> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return String(port)
}

describe('the client for frontends', () => {
  test('yields each state of a task once, with the selected fields, and ends with the final state', async () => {
    await using scene = await openScene()
    const { id, succeed } = await scene.submit()
    const client = connect(scene.gateway.url)
    const states = followTask(client, { id, selection: 'images { url }' })
    expect((await states.next()).value).toEqual({ version: 2, status: 'PROCESSING', images: null })
    await succeed()
    expect((await states.next()).value).toEqual({
      version: 3,
      status: 'SUCCEEDED',
      images: [{ url: RESULT }],
    })
    expect((await states.next()).done).toBe(true)
    expect(await Array.fromAsync(followTask(client, { id, afterVersion: 3 }))).toEqual([])
    expect(await Array.fromAsync(followTask(client, { id, afterVersion: 2 }))).toMatchObject([{ version: 3 }])
    await client.dispose()
  })

  test('resumes after a restart of the service, and receives no state twice', async () => {
    await using dir = await openTempDir()
    await using upstream = await startScriptedUpstream()
    upstream.onLookup = (response) => response.end(JSON.stringify({ code: 200, data: { successFlag: 0 } }))
    const settings = {
      PORT: await findPort(),
      DATABASE_URL: `file:${dir.path}/c.db`,
      UPSTREAM_URL: upstream.url,
    }
    const first = await startProcess(settings)
    await first.run('mutation { upscaleImage(input: { taskId: "source", imageIndex: 0 }) { replayed } }')
    const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
    const id = new URL(callBackUrl).pathname.split('/')[3] ?? ''
    const received: unknown[] = []
    const client = connect(
      first.url,
      {},
      {
        on: {
          message: (message) => {
            if (message.type === MessageType.Next) received.push(message.payload.data?.taskUpdated)
          },
        },
      },
    )
    const states = followTask(client, { id })
    expect((await states.next()).value).toEqual({ version: 2, status: 'PROCESSING' })
    const rest = states.next()
    const again = new Promise((resolve) => client.on('connected', resolve))
    first.child.kill('SIGTERM')
    await first.exited
    await using second = await startProcess(settings)
    await again
    const body = JSON.stringify({ code: 200, data: { taskId: 'upstream-1', resultUrls: [RESULT] } })
    await fetch(second.url + new URL(callBackUrl).pathname, { method: 'POST', body })
    expect((await rest).value).toEqual({ version: 3, status: 'SUCCEEDED' })
    expect(received).toEqual([
      { version: 2, status: 'PROCESSING' },
      { version: 3, status: 'SUCCEEDED' },
    ])
    await client.dispose()
  })

  test('gets a new token for each connection, and fails when the token is invalid', async () => {
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET })
    scene.clock.advance(Date.now() - scene.clock.now())
    const { id } = await scene.submit(await sign(600))
    const tokens = [await sign(60), 'Bearer nonsense']
    const client = connect(scene.gateway.url, { getAuthorization: () => tokens.shift() })
    const states = followTask(client, { id })
    expect((await states.next()).value).toMatchObject({ version: 2 })
    const rest = states.next()
    scene.clock.advance(61_000)
    scene.clock.advance(500)
    await expect(rest).rejects.toMatchObject({ name: 'FollowError', code: 'UNAUTHENTICATED' })
    expect(tokens).toEqual([])
    await client.dispose()
  })

  test('awaits the token before it opens the socket, and retries when getting the token fails', async () => {
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET })
    const { clock, gateway } = scene
    clock.advance(Date.now() - clock.now())
    const { id } = await scene.submit(await sign(600))
    const asked = Promise.withResolvers<void>()
    const token = Promise.withResolvers<string>()
    let calls = 0
    let opened = 0
    const getAuthorization = () => {
      calls += 1
      if (calls > 1) return sign(600)
      asked.resolve()
      return token.promise
    }
    const client = connect(gateway.url, { getAuthorization }, { on: { opened: () => (opened += 1) } })
    const first = followTask(client, { id }).next()
    await asked.promise
    clock.advance(15_000)
    expect(opened).toBe(0)
    token.reject(new Error('The identity provider is unavailable'))
    expect((await first).value).toMatchObject({ version: 2 })
    expect(calls).toBe(2)
    await client.dispose()
  })

  test('throws a FollowError for each way to refuse a token', async () => {
    const server = createHttpServer()
    const sockets = new WebSocketServer({ noServer: true })
    let refuse = 401 as number | [number, string]
    server.on('upgrade', (request, stream, head) => {
      const refusal = refuse
      if (typeof refusal === 'number') stream.end(`HTTP/1.1 ${refusal} No\r\nConnection: close\r\n\r\n`)
      else sockets.handleUpgrade(request, stream, head, (socket) => socket.close(...refusal))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const cases: [number | [number, string], string, number?][] = [
      [401, 'UNAUTHENTICATED'],
      [403, 'FORBIDDEN'],
      [[4401, 'UNAUTHENTICATED'], 'UNAUTHENTICATED'],
      [[4401, 'Unauthorized'], 'UNAUTHENTICATED'],
      [[4403, 'UNAUTHENTICATED'], 'UNAUTHENTICATED'],
      [[4403, 'Forbidden'], 'FORBIDDEN'],
      // Temporary errors: only a client that does not retry reports them.
      [[4403, 'TOKEN_EXPIRED'], 'UNAUTHENTICATED', 0],
      [[1013, 'AUTH_UNAVAILABLE'], 'AUTH_UNAVAILABLE', 0],
    ]
    for (const [refusal, code, retryAttempts] of cases) {
      refuse = refusal
      const client = connect(url, {}, retryAttempts === undefined ? {} : { retryAttempts })
      const states = followTask(client, { id: 'x' })
      await expect(states.next()).rejects.toMatchObject({ name: 'FollowError', code })
    }
    server.close()
  })

  test('follows a task of another owner with its watch token', async () => {
    await using scene = await openScene({ AUTH_JWT_SECRET: SECRET })
    scene.clock.advance(Date.now() - scene.clock.now())
    const { id, watchToken, succeed } = await scene.submit(await sign(600))
    await succeed()
    const client = connect(scene.gateway.url, { watchToken: watchToken ?? '' })
    const states = followTask(client, { id, watchToken: watchToken ?? '' })
    expect(await Array.fromAsync(states)).toMatchObject([{ version: 3, status: 'SUCCEEDED' }])
    await client.dispose()
  })

  test('ends at once when the signal aborts, and closes its subscription', async () => {
    await using scene = await openScene()
    const { id } = await scene.submit()
    const client = connect(scene.gateway.url)
    const abort = new AbortController()
    const states = followTask(client, { id, signal: abort.signal })
    expect((await states.next()).value).toMatchObject({ version: 2 })
    const rest = states.next()
    abort.abort()
    expect(await rest).toEqual({ done: true, value: undefined })
    const open = async () => {
      const metrics = await (await fetch(`${scene.gateway.url}/metrics`)).text()
      return /^upscale_subscriptions_open (\d+)$/m.exec(metrics)?.[1]
    }
    while ((await open()) !== '0') await new Promise(setImmediate)
    expect((await followTask(client, { id, signal: abort.signal }).next()).done).toBe(true)
    await client.dispose()
  })

  test('detects a dead connection by a missing pong, and reconnects', async () => {
    await using scene = await openScene()
    await using proxy = await startSilentProxy(scene.gateway.url)
    const { id, succeed } = await scene.submit()
    const client = connect(proxy.url)
    const states = followTask(client, { id })
    expect((await states.next()).value).toMatchObject({ version: 2 })
    proxy.silence()
    const rest = states.next()
    await succeed()
    expect((await rest).value).toEqual({ version: 3, status: 'SUCCEEDED' })
    await client.dispose()
  }, 60_000)

  test('throws an error with a code when a task cannot be followed', async () => {
    await using scene = await openScene()
    const client = connect(scene.gateway.url)
    const follow = (id: string, selection = '') => followTask(client, { id, selection }).next()
    await expect(follow('nobody')).rejects.toMatchObject({ name: 'FollowError', code: 'TASK_NOT_FOUND' })
    await expect(follow('nobody', 'nonsense')).rejects.toMatchObject({ code: 'GRAPHQL_VALIDATION_FAILED' })
    await client.dispose()
  })

  test('subscribes again when a stream ends early or with a temporary error, and never yields an older version', async () => {
    // Streams as routers may distort them.
    const state = (version: number, status: string) => ({ data: { taskUpdated: { version, status } } })
    const streams = [
      [state(2, 'PROCESSING')],
      [{ data: { taskUpdated: null }, errors: [{ message: 'Subgraph errors redacted' }] }],
      [state(1, 'SUBMITTED'), state(2, 'PROCESSING')],
      [state(2, 'PROCESSING'), state(3, 'FAILED')],
    ]
    await using server = await startPlayedStreams(streams)
    const client = connect(server.url)
    const states = await Array.fromAsync(followTask(client, { id: 'x' }))
    expect(states).toEqual([
      { version: 2, status: 'PROCESSING' },
      { version: 3, status: 'FAILED' },
    ])
    expect(streams).toEqual([])
    await client.dispose()
  })

  test('yields a state of the same version again only if the selected fields have changed', async () => {
    const state = (version: number, position: number | null) => ({
      data: {
        taskUpdated: {
          version,
          status: position === null ? 'FAILED' : 'SUBMITTED',
          queue: position === null ? null : { position },
        },
      },
    })
    const streams = [
      // The first has the version that the caller has.
      [state(1, 4), state(1, 3), state(1, 3)],
      [state(1, 3), state(1, 2), state(1, 2), state(2, 2), state(1, 1), state(3, null)],
    ]
    await using server = await startPlayedStreams(streams)
    const client = connect(server.url)
    const states = followTask(client, { id: 'x', selection: 'queue { position }', afterVersion: 1 })
    expect(await Array.fromAsync(states)).toEqual([
      { version: 1, status: 'SUBMITTED', queue: { position: 3 } },
      { version: 1, status: 'SUBMITTED', queue: { position: 2 } },
      { version: 2, status: 'SUBMITTED', queue: { position: 2 } },
      { version: 3, status: 'FAILED', queue: null },
    ])
    await client.dispose()
  })

  test('is a package of its own that imports no other package, and an export of the gateway', async () => {
    await using dir = await openTempDir()
    const folder = `${dir.path}/node_modules/upscale-gateway-client`
    await mkdir(folder, { recursive: true })
    for (const part of ['package.json', 'dist'])
      await cp(`client/${part}`, `${folder}/${part}`, { recursive: true })
    const exportsOf = async (name: string, cwd = '.') => {
      const script = `console.log(Object.keys(await import('${name}')).join())`
      const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
        cwd,
      })
      return stdout.trim()
    }
    const names = 'FollowError,createHttpTransport,followTask,followTasks,submit,toClientOptions'
    const store = 'createUpscale,toUrlStorage,toWebStorage'
    expect(await exportsOf('upscale-gateway-client', dir.path)).toBe(names)
    expect(await exportsOf('upscale-gateway/client')).toBe(names)
    expect(await exportsOf('upscale-gateway-client/store', dir.path)).toBe(store)
    expect(await exportsOf('upscale-gateway/client/store')).toBe(store)
  })
})
