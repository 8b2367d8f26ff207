import { execFileSync } from 'node:child_process'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { startProcess } from '../support/process.ts'
import { json, startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { startPostgres, startRedis, type TestServer } from '../support/servers.ts'
import { startStopwatch } from '../support/stopwatch.ts'

/** The promises of docs/operations.md: the time until an answer, and until requests succeed again. */
const ANSWER_MS = 3_000
const RECOVERY_MS = 5_000
const RESULT = 'https://example.com/result.png'
const TASKS = 300
const REPLICAS = 3

type Replica = Awaited<ReturnType<typeof startProcess>>
interface Shown {
  version: number
  status: string
}

const random = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T

/** Retries until the attempt succeeds: a request may reach a replica that was just killed. */
async function insist<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt()
    } catch {
      await pause(100 + Math.random() * 200)
    }
  }
}

describe('several replicas on one database', () => {
  let postgres: TestServer
  let redis: TestServer
  let upstream: ScriptedUpstream
  let replicas: Replica[] = []
  beforeEach(async () => {
    ;[postgres, redis, upstream] = await Promise.all([startPostgres(), startRedis(), startScriptedUpstream()])
    replicas = await Promise.all(Array.from({ length: REPLICAS }, start))
    for (const { url, output } of replicas)
      if (url === '') throw new Error(`A replica did not start:\n${output()}`)
  }, 120_000)
  afterEach(async () => {
    for (const replica of replicas) await replica[Symbol.asyncDispose]()
    await Promise.all([postgres, redis, upstream].map((server) => server[Symbol.asyncDispose]()))
  })

  const start = () =>
    startProcess({
      DATABASE_URL: postgres.url,
      REDIS_URL: redis.url,
      UPSTREAM_URL: upstream.url,
      PUBLIC_URL: 'http://gateway.example.com',
      UPSTREAM_TIMEOUT_MS: '5000',
      // What was killed before it was sent can only end so.
      TASK_DEADLINE_MS: '45000',
      POLL_INTERVAL_MS: '2000',
      REASSERT_MS: '1000',
      OWNER_RATE_LIMIT: '0',
      UPSTREAM_RATE_LIMIT: '0',
      OWNER_SOCKET_LIMIT: '0',
    })

  async function run(query: string, url = random(replicas).url): Promise<Record<string, unknown>> {
    const response = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query }),
      signal: AbortSignal.timeout(10_000),
    })
    const { data, errors } = (await response.json()) as { data: Record<string, unknown>; errors?: unknown }
    if (errors !== undefined) throw new Error(JSON.stringify(errors))
    return data
  }

  test('whoever is killed, restarted or cut off: every watcher sees the end, nothing is sent or settled twice', async () => {
    const posts = new Map<string, number>()
    const taken = new Set<string>()
    const calling: Promise<void>[] = []
    upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
    upstream.onCreate = (response, request) => {
      const { taskId: source, callBackUrl } = JSON.parse(request.body) as {
        taskId: string
        callBackUrl: string
      }
      posts.set(source, (posts.get(source) ?? 0) + 1)
      const taskId = `upstream-${source}`
      json(200, { code: 200, data: { taskId } })(response, request)
      // Like the upstream, repeats each callback until the answer is 200: some twice, some during an outage.
      const body = JSON.stringify({ code: 200, data: { taskId, resultUrls: [RESULT] } })
      const { pathname } = new URL(callBackUrl)
      const callBack = async () => {
        await pause(500 + Math.random() * 10_000)
        await insist(async () => {
          const signal = AbortSignal.timeout(15_000)
          const { status } = await fetch(random(replicas).url + pathname, { method: 'POST', body, signal })
          if (status !== 200) throw new Error(String(status))
        })
        taken.add(pathname.split('/').at(-2) ?? '')
      }
      calling.push(callBack(), ...(Math.random() < 0.2 ? [callBack()] : []))
    }

    /** Follows a task to its end, at one replica after the other. */
    async function follow(id: string): Promise<number[]> {
      const versions: number[] = []
      const client = createClient({
        url: () => `${random(replicas).url.replace('http', 'ws')}/graphql`,
        webSocketImpl: WebSocket,
        retryAttempts: 1_000,
        shouldRetry: () => true,
        retryWait: () => pause(100 + Math.random() * 200),
      })
      const query = `subscription { taskUpdated(id: "${id}") { version status } }`
      for (let settled = false; !settled;)
        try {
          for await (const { data } of client.iterate<{ taskUpdated: Shown | null }>({ query })) {
            if (!data?.taskUpdated) continue
            versions.push(data.taskUpdated.version)
            settled = ['SUCCEEDED', 'FAILED'].includes(data.taskUpdated.status)
          }
        } catch {
          await pause(200)
        }
      await client.dispose()
      return versions
    }

    const watched = Array.from({ length: TASKS }, async (_, n) => {
      await pause(Math.random() * 12_000)
      const input = `{taskId: "source-${n}", imageIndex: 0, idempotencyKey: "key-${n}"}`
      const mutation = `mutation { upscaleImage(input: ${input}) { task { id } problem { code } } }`
      const { upscaleImage } = (await insist(() => run(mutation))) as {
        upscaleImage: { task: { id: string } }
      }
      const { id } = upscaleImage.task
      return { id, versions: await follow(id) }
    })

    const chaos = (async () => {
      for (let round = 0; round < 3; round += 1) {
        await pause(2_000)
        const victim = random(replicas)
        victim.child.kill('SIGKILL')
        await victim.exited
        replicas[replicas.indexOf(victim)] = await insist(start)
      }
      await redis.stop()
      await pause(4_000)
      await postgres.stop()
      await postgres.start()
      await pause(5_000)
      await redis.start()
    })()

    const ended = await Promise.all(watched)
    await Promise.all([chaos, ...calling])
    for (const { id, versions } of ended) {
      const { upscaleTask } = (await insist(() =>
        run(`{ upscaleTask(id: "${id}") { version status source { id } history { status } } }`),
      )) as { upscaleTask: Shown & { source: { id: string }; history: { status: string }[] } }
      // A submit that was killed before its request was never sent, and has no callback.
      const sent = posts.has(upscaleTask.source.id)
      expect(upscaleTask.status).toBe(sent ? 'SUCCEEDED' : 'FAILED')
      expect(taken.has(id)).toBe(sent)
      expect(versions.at(-1)).toBe(upscaleTask.version)
      expect(versions).toEqual([...versions].sort((a, b) => a - b))
      const settled = upscaleTask.history.filter(({ status }) => status === upscaleTask.status)
      expect(settled).toHaveLength(1)
    }
    expect([...posts.values()].every((count) => count === 1)).toBe(true)
    expect(posts.size).toBeGreaterThan(TASKS * 0.9)
  }, 120_000)

  test.each(['stopped', 'frozen'])(
    'with the database %s, everyone is answered within 3 seconds; then all goes on by itself within 5',
    async (how) => {
      const UPSCALE =
        'mutation { upscaleImage(input: {taskId: "s", imageIndex: 0, force: true}) { task { id } } }'
      await run(UPSCALE)
      const { callBackUrl } = JSON.parse(upstream.received.at(-1)?.body ?? '') as { callBackUrl: string }
      const url = replicas[0]?.url ?? ''
      const post = async (path: string, body: object) => {
        using readMs = startStopwatch()
        const headers = { 'content-type': 'application/json' }
        const response = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) })
        const text = await response.text()
        expect(readMs()).toBeLessThan(ANSWER_MS)
        return { status: response.status, text }
      }
      const result = { code: 200, data: { taskId: 'upstream-1', resultUrls: [RESULT] } }
      const callBack = async () => (await post(new URL(callBackUrl).pathname, result)).status
      const mutate = async () => {
        const { text } = await post('/graphql', { query: UPSCALE })
        return JSON.parse(text) as { errors?: { extensions: { code: string } }[] }
      }
      // Thawed also when the test fails: a frozen server cannot be stopped.
      using frozen = how === 'frozen' ? freeze(postgres) : null
      if (frozen === null) await postgres.stop()
      expect(await Promise.all([callBack(), mutate(), callBack()])).toEqual([
        503,
        expect.objectContaining({
          errors: [
            expect.objectContaining({
              extensions: expect.objectContaining({ code: 'SERVICE_UNAVAILABLE', retryable: true }),
            }),
          ],
        }),
        503,
      ])
      expect((await fetch(`${url}/readyz`)).status).toBe(503)
      expect((await fetch(`${url}/livez`)).status).toBe(200)
      if (frozen === null) await postgres.start()
      else frozen[Symbol.dispose]()
      using readMs = startStopwatch()
      while ((await mutate()).errors !== undefined) expect(readMs()).toBeLessThan(RECOVERY_MS)
      expect(await callBack()).toBe(200)
    },
    60_000,
  )

  test('a client that goes on elsewhere, because its replica drains, misses nothing', async () => {
    upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
    await run('mutation { upscaleImage(input: {taskId: "s", imageIndex: 0}) { task { id } } }')
    const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
    const [, , , id = '', token = ''] = new URL(callBackUrl).pathname.split('/')
    const [first, second] = replicas
    if (!first || !second) throw new Error('Not there')
    const open = (url: string, afterVersion: number | null) => {
      const closed = Promise.withResolvers<number>()
      const client = createClient({
        url: `${url.replace('http', 'ws')}/graphql`,
        webSocketImpl: WebSocket,
        retryAttempts: 0,
        on: { closed: (event) => closed.resolve((event as { code: number }).code) },
      })
      const query = `subscription { taskUpdated(id: "${id}", afterVersion: ${afterVersion}) { version status } }`
      return { events: client.iterate<{ taskUpdated: Shown }>({ query }), closed: closed.promise }
    }
    const before = open(first.url, null)
    expect((await before.events.next()).value).toMatchObject({ data: { taskUpdated: { version: 2 } } })
    const rest = before.events.next().catch(() => 'cut off')
    first.child.kill('SIGTERM')
    expect(await before.closed).toBe(1001)
    await rest
    expect(await first.exited).toEqual({ code: 0, signal: null })
    const body = JSON.stringify({ code: 200, data: { taskId: 'upstream-1', resultUrls: [RESULT] } })
    const path = `/callbacks/upscale/${id}/${token}`
    expect((await fetch(second.url + path, { method: 'POST', body })).status).toBe(200)
    const after = open(random([second, replicas[2] ?? second]).url, 2)
    expect((await after.events.next()).value).toMatchObject({
      data: { taskUpdated: { version: 3, status: 'SUCCEEDED' } },
    })
  })
})

/**
 * Stops the server's processes, the first before all others: so that it starts none meanwhile. Disposal lets
 * them go on.
 */
function freeze(server: TestServer): Disposable {
  process.kill(server.process().pid ?? 0, 'SIGSTOP')
  for (const pid of pidsOf(server)) process.kill(pid, 'SIGSTOP')
  return {
    [Symbol.dispose]() {
      for (const pid of pidsOf(server)) process.kill(pid, 'SIGCONT')
    },
  }
}

/** The server's processes: freezing only the first would leave those that serve connections at work. */
function pidsOf(server: TestServer): number[] {
  const parent = server.process().pid ?? 0
  const children = execFileSync('pgrep', ['-P', String(parent)])
    .toString()
    .trim()
    .split('\n')
    .map(Number)
  return [parent, ...children]
}
