import { expect, test } from '@jest/globals'
import { Redis } from 'ioredis'
import { openBackends } from '../../src/open-backends.ts'
import { systemClock } from '../../src/system.ts'
import { openRedisHints } from '../../src/replicas/redis-hints.ts'
import { openTestSchema } from '../support/postgres.ts'
import { startRedis } from '../support/servers.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { NO_TRACING } from '../../src/tasks/tracing.ts'
import { waitFor } from '../support/wait-for.ts'

/** Hints and limits on this Redis; `warned` resolves with the first warning in which the pattern is found. */
async function openOn(redisUrl: string) {
  await using opened = new AsyncDisposableStack()
  const { url } = opened.use(await openTestSchema())
  const warnings: string[] = []
  const waiting = new Set<() => void>()
  const log = {
    info: () => undefined,
    error: () => undefined,
    warn: (_facts: object, sentence: string) => {
      warnings.push(sentence)
      for (const look of waiting) look()
    },
  }
  const options = { pollsPerSecond: 5, clock: systemClock, log, tracing: NO_TRACING, onHint: () => undefined }
  const database = { kind: 'postgres', url } as const
  const backends = opened.use(
    await openBackends({ database, redisUrl, databaseListenUrl: null, poolSize: 10 }, options),
  )
  const limiter = backends.createLimiter('test', { limit: 5, perMs: 60_000 })
  const rest = opened.move()
  return {
    hints: backends.hints,
    limiter,
    warnings,
    warned: (pattern: RegExp) =>
      new Promise<string>((resolve) => {
        const look = () => {
          const found = warnings.find((sentence) => pattern.test(sentence))
          if (found !== undefined) resolve(found)
        }
        waiting.add(look)
        look()
      }),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

async function administer(url: string, ...commands: string[][]): Promise<void> {
  const redis = new Redis(url)
  for (const [name = '', ...args] of commands) await redis.call(name, ...args)
  redis.disconnect()
}

const as = (url: string, user: string, password: string) =>
  Object.assign(new URL(url), { username: user, password }).href

test('a user that may not publish, subscribe or count is told which permissions are missing', async () => {
  await using server = await startRedis()
  await administer(server.url, [
    'ACL',
    'SETUSER',
    'u',
    'on',
    '>secret',
    '~other:*',
    '&other:*',
    '+@all',
    '-publish',
  ])
  await using on = await openOn(as(server.url, 'u', 'secret'))
  on.hints.announce('task')
  expect(await on.warned(/publish/)).toMatch(
    /^Redis: NOPERM .*publish.*; grant the user what it needs: ACL SETUSER/,
  )
  using _listener = await on.hints.listen('task', () => undefined)
  await on.warned(/NOPERM .*channels.*Hints between replicas are lost/)
  await on.limiter.consume('key')
  await on.warned(/NOPERM .*keys.*Each replica counts rate limits separately/)
  expect(on.warnings.join()).not.toContain('secret')
})

test('a user with the permissions that the log asks for may do everything', async () => {
  await using server = await startRedis()
  const grant = '~upscale:* &upscale:* +@read +@write +@pubsub +@scripting +@transaction +@connection +info'
  await administer(server.url, ['ACL', 'SETUSER', 'u', 'on', '>secret', ...grant.split(' ')])
  await using on = await openOn(as(server.url, 'u', 'secret'))
  on.hints.announce('task')
  using _listener = await on.hints.listen('task', () => undefined)
  expect((await on.limiter.consume('key')).remainingPoints).toBe(4)
  await on.limiter.reward('key', 1)
  await on.limiter.get('key')
  expect(on.warnings).toEqual([])
})

test('each kind of fault is said once, not with each command', async () => {
  await using server = await startRedis()
  await administer(server.url, ['ACL', 'SETUSER', 'u', 'on', '>secret', '~*', '&*', '+@all', '-publish'])
  await using on = await openOn(as(server.url, 'u', 'secret'))
  for (let n = 0; n < 100; n += 1) on.hints.announce(`task-${n}`)
  await on.warned(/publish/)
  // Answered after all of those before.
  using _listener = await on.hints.listen('task', () => undefined)
  await on.limiter.consume('key')
  expect(on.warnings).toEqual([expect.stringContaining('NOPERM')])
})

test.each([
  ['a wrong password', 'wrong', /^Redis: WRONGPASS .*; check user name and password in REDIS_URL/],
  ['no password', '', /^Redis: NOAUTH .*; it requires a password/],
])('%s', async (_name, password, expected) => {
  await using server = await startRedis('--requirepass', 'secret')
  await using on = await openOn(as(server.url, '', password))
  await on.warned(expected)
})

test('a primary that becomes a read-only replica; and it is used again once it is one no more', async () => {
  await using server = await startRedis()
  await using other = await startRedis()
  await using on = await openOn(server.url)
  await on.limiter.consume('key')
  await administer(server.url, ['REPLICAOF', '127.0.0.1', new URL(other.url).port])
  await on.limiter.consume('key')
  expect(await on.warned(/READONLY/)).toMatch(
    /; it is a read-only replica: REDIS_URL has to name the primary/,
  )
  await administer(server.url, ['REPLICAOF', 'NO', 'ONE'], ['SET', 'upscale:limit:test:other', '4'])
  // From here on counts come from the server again.
  const late = AbortSignal.timeout(10_000)
  while ((await on.limiter.consume('other').catch(() => ({ remainingPoints: 0 }))).remainingPoints !== 0)
    expect(late.aborted).toBe(false)
})

test('a node of a cluster', async () => {
  await using dir = await openTempDir()
  await using server = await startRedis('--cluster-enabled', 'yes', '--dir', dir.path)
  await using on = await openOn(server.url)
  await on.limiter.consume('key')
  expect(await on.warned(/CLUSTERDOWN/)).toMatch(/it is part of a Redis Cluster, which is not supported/)
})

test('a server that is not there', async () => {
  await using on = await openOn('redis://localhost:9')
  expect(await on.warned(/ECONNREFUSED/)).toMatch(/connect ECONNREFUSED .*; check host and port in REDIS_URL/)
})

test('heartbeats that do not arrive are noticed, warned about once, and replaced by reading', async () => {
  await using redis = await startRedis()
  const lines: string[] = []
  const note = (_facts: object, sentence: string) => void lines.push(sentence)
  const log = { info: note, warn: note, error: note }
  await using hints = await openRedisHints({ url: redis.url, log, heartbeatMs: 200 })
  await using opened = new AsyncDisposableStack()
  const admin = opened.adopt(new Redis(redis.url), (client) => client.disconnect())
  await waitFor(() => hints.isUp)
  await admin.call('ACL', 'SETUSER', 'default', '-publish')
  const DEAF = 'no own heartbeat'
  const AGAIN = 'hints of other replicas arrive again'
  const told = () => lines.filter((line) => line.includes(DEAF) || line === AGAIN)
  let wakes = 0
  using _listener = await hints.listen('task', () => (wakes += 1))
  // Several heartbeats are missed.
  await waitFor(() => wakes > 3 && told().at(-1)?.includes(DEAF) === true)
  await admin.call('ACL', 'SETUSER', 'default', '+publish')
  await waitFor(() => hints.isUp && told().at(-1) === AGAIN)
  expect(told()).toEqual([expect.stringContaining(DEAF), AGAIN])
}, 30_000)
