import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { openPostgresHints } from '../../src/replicas/postgres-hints.ts'
import { openRedisHints } from '../../src/replicas/redis-hints.ts'
import { openTestSchema } from '../support/postgres.ts'
import { startProcess } from '../support/process.ts'
import { startSilentProxy } from '../support/proxy.ts'
import { TEST_REDIS_URL } from '../support/redis.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { startStopwatch } from '../support/stopwatch.ts'

const log = { info: () => undefined, warn: () => undefined, error: () => undefined }
const UPSCALE =
  'mutation { upscaleImage(input: { taskId: "a", imageIndex: 0, force: true }) { task { status } } }'

/** Servers that hold their connections and say nothing: worse than those that are gone. */
describe('a server that falls silent', () => {
  test.each([
    ['PostgreSQL', async () => await openTestSchema(), (url: string) => openPostgresHints({ url, log })],
    [
      'Redis',
      () => Promise.resolve({ url: TEST_REDIS_URL ?? '', [Symbol.asyncDispose]: () => Promise.resolve() }),
      (url: string) => openRedisHints({ url, log }),
    ],
  ])(
    'is left for a new connection, in the midst of hints: %s',
    async (_name, openServer, open) => {
      await using server = await openServer()
      await using proxy = await startSilentProxy(server.url)
      await using near = await open(proxy.url)
      await using far = await open(server.url)
      const wakes = { near: 0, far: 0 }
      using _near = await near.listen('task', () => (wakes.near += 1))
      using _far = await far.listen('task', () => (wakes.far += 1))
      proxy.silence()
      const busy = setInterval(() => near.announce('task'), 20)
      // Its own hints wake it, too: only those of the other count.
      const own = 1
      while (wakes.far === 0) await pause(20)
      clearInterval(busy)
      const before = wakes.near
      while (wakes.near < before + own) {
        far.announce('task')
        await pause(20)
      }
    },
    60_000,
  )

  test.each([
    ['PostgreSQL', async () => await openTestSchema(), (url: string) => openPostgresHints({ url, log })],
    [
      'Redis',
      () => Promise.resolve({ url: TEST_REDIS_URL ?? '', [Symbol.asyncDispose]: () => Promise.resolve() }),
      (url: string) => openRedisHints({ url, log }),
    ],
  ])('does not hold up the end of those who talk to it: %s', async (_name, openServer, open) => {
    await using server = await openServer()
    await using proxy = await startSilentProxy(server.url)
    const hints = await open(proxy.url)
    proxy.silence(true)
    for (let n = 0; n < 2_000; n += 1) hints.announce(`task-${n}-${'x'.repeat(100)}`)
    await hints[Symbol.asyncDispose]()
  })

  test('is waited for by nobody longer than 3 s, however the requests come; and SIGTERM ends the process', async () => {
    await using schema = await openTestSchema()
    await using proxy = await startSilentProxy(schema.url)
    await using upstream = await startScriptedUpstream()
    const settings = {
      UPSTREAM_URL: upstream.url,
      OWNER_RATE_LIMIT: '0',
      UPSTREAM_RATE_LIMIT: '0',
      DRAIN_MS: '2000',
    }
    await using service = await startProcess({ ...settings, DATABASE_URL: proxy.url })
    await service.run(UPSCALE)
    const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
    proxy.silence(true)
    const timed = async (ask: () => Promise<Response>) => {
      using readMs = startStopwatch()
      const { status } = await ask()
      return { status, ms: readMs() }
    }
    const body = JSON.stringify({
      code: 200,
      data: { taskId: 'upstream-1', resultUrls: ['https://example.com/r.png'] },
    })
    const asking: Promise<{ status: number; ms: number }>[] = []
    for (let n = 0; n < 30; n += 1) {
      asking.push(
        timed(() => fetch(callBackUrl, { method: 'POST', body })),
        timed(() => fetch(`${service.url}/readyz`)),
      )
      await pause(100)
    }
    const answers = await Promise.all(asking)
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]))
    expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(3_500)
    service.child.kill('SIGTERM')
    expect(await service.exited).toEqual({ code: 0, signal: null })
  }, 60_000)

  test('does not keep the process from ending, although an answer that was paid for could not be stored', async () => {
    await using schema = await openTestSchema()
    await using proxy = await startSilentProxy(schema.url)
    await using upstream = await startScriptedUpstream()
    const asked = Promise.withResolvers<() => void>()
    const accept = json(200, { code: 200, data: { taskId: 'upstream-1' } })
    upstream.onCreate = (response, request) => asked.resolve(() => accept(response, request))
    await using service = await startProcess({
      UPSTREAM_URL: upstream.url,
      DATABASE_URL: proxy.url,
      DRAIN_MS: '1000',
    })
    const mutation = service.runWhenAvailable(UPSCALE).catch(() => 'cut off')
    const answer = await Promise.race([asked.promise, mutation.then(() => undefined)])
    if (answer === undefined) throw new Error(`Nothing was sent:\n${service.output()}`)
    proxy.silence(true)
    answer()
    await service.logged('failed to store')
    service.child.kill('SIGTERM')
    expect(await service.exited).toEqual({ code: 0, signal: null })
    // The last that is heard of it is in the log.
    expect(service.output()).toMatch(/"upstreamTaskId":"upstream-1".*was never stored/)
    await mutation
  }, 60_000)

  test('costs each submit little, where it only counts them: Redis', async () => {
    await using schema = await openTestSchema()
    await using proxy = await startSilentProxy(TEST_REDIS_URL ?? '')
    await using service = await startProcess({
      DATABASE_URL: schema.url,
      REDIS_URL: proxy.url,
      OWNER_RATE_LIMIT: '1000/600s',
    })
    proxy.silence(true)
    // Twice as many as the pool has connections: the second half fails if the first half waits for Redis too
    // long.
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => service.run(UPSCALE.replace('"a"', `"source-${n}"`))),
    )
    for (const answer of answers)
      expect(answer).toMatchObject({ data: { upscaleImage: { task: { status: 'PROCESSING' } } } })
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200)
  }, 60_000)
})

test('a replica that starts waits for another’s migration, however long that takes', async () => {
  await using schema = await openTestSchema()
  const other = new pg.Client({ connectionString: schema.url })
  await other.connect()
  // The lock that Kysely takes for a migration.
  await other.query('SELECT pg_advisory_lock(3853314791062309107)')
  const starting = startProcess({ DATABASE_URL: schema.url })
  const waiting = async () => {
    const { rows } = await other.query<{ seconds: number }>(
      `SELECT extract(epoch FROM now() - query_start)::float AS seconds FROM pg_stat_activity
       WHERE wait_event_type = 'Lock' AND query LIKE '%advisory%' AND application_name LIKE 'upscale%'`,
    )
    return rows.length > 0
  }
  while (!(await waiting())) await pause(20)
  await pause(2_500)
  await other.end()
  await using service = await starting
  expect((await fetch(`${service.url}/readyz`)).status).toBe(200)
}, 60_000)

test('a database that takes no writes makes a replica not ready', async () => {
  await using schema = await openTestSchema()
  await using _first = await startProcess({ DATABASE_URL: schema.url })
  const url = new URL(schema.url)
  url.searchParams.set(
    'options',
    `${url.searchParams.get('options') ?? ''} -cdefault_transaction_read_only=on`,
  )
  await using service = await startProcess({ DATABASE_URL: url.href })
  expect((await fetch(`${service.url}/readyz`)).status).toBe(503)
  expect((await fetch(`${service.url}/livez`)).status).toBe(200)
}, 60_000)
