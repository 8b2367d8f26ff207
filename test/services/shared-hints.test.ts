import { randomUUID } from 'node:crypto'
import { expect, test } from '@jest/globals'
import { Redis } from 'ioredis'
import pg from 'pg'
import { openPostgresHints } from '../../src/replicas/postgres-hints.ts'
import { openRedisHints } from '../../src/replicas/redis-hints.ts'
import { describeSharedHints, describeTaskHints } from '../contract/task-hints.ts'
import { openTestSchema, TEST_DATABASE_URL } from '../support/postgres.ts'
import { TEST_REDIS_URL } from '../support/redis.ts'
import { waitFor } from '../support/wait-for.ts'

const log = { info: () => undefined, warn: () => undefined, error: () => undefined }

const setUpPostgres = async () => {
  const schema = await openTestSchema()
  // By this name the connections of this fleet can be told from others, whatever they have done last.
  const name = `test ${randomUUID()}`
  const url = new URL(schema.url)
  url.searchParams.set('application_name', name)
  return {
    url: url.href,
    open: () => openPostgresHints({ url: url.href, log }),
    async cut() {
      const client = new pg.Client({ connectionString: TEST_DATABASE_URL })
      await client.connect()
      await client.query(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1',
        [name],
      )
      await client.end()
    },
    [Symbol.asyncDispose]: () => schema[Symbol.asyncDispose](),
  }
}
describeTaskHints('PostgreSQL hints', async () => {
  const fleet = await setUpPostgres()
  const hints = await fleet.open()
  return {
    hints,
    async [Symbol.asyncDispose]() {
      await hints[Symbol.asyncDispose]()
      await fleet[Symbol.asyncDispose]()
    },
  }
})
describeSharedHints('PostgreSQL hints', setUpPostgres)

/** All payloads on the channel of a schema, until `read` is called. Sends nothing itself. */
async function recordPayloads(url: string) {
  const own = new URL(url)
  own.searchParams.delete('application_name')
  const client = new pg.Client({ connectionString: own.href })
  await client.connect()
  const { rows } = await client.query<{ channel: string }>(
    "SELECT 'upscale_hints_' || current_schema() AS channel",
  )
  const channel = rows[0]?.channel ?? ''
  await client.query(`LISTEN ${channel}`)
  const payloads: string[] = []
  const ended = Promise.withResolvers<void>()
  client.on('notification', ({ payload = '' }) => {
    if (payload === 'end') ended.resolve()
    else payloads.push(payload)
  })
  return {
    /** Between the first and the last of them. */
    spanMs: () => parseInt(payloads.at(-1) ?? '0') - parseInt(payloads[0] ?? '0'),
    async read() {
      await client.query(`NOTIFY ${channel}, 'end'`)
      await ended.promise
      return payloads.join(' ').split(' ')
    },
    [Symbol.asyncDispose]: () => client.end(),
  }
}

test('a replica on PostgreSQL that is alone sends no hints; before it knows that, it does', async () => {
  await using fleet = await setUpPostgres()
  for (const [aloneAfterMs, isSent] of [
    [0, false],
    [60_000, true],
  ] as const) {
    await using recorded = await recordPayloads(fleet.url)
    const hints = await openPostgresHints({ url: fleet.url, log, aloneAfterMs })
    expect(hints.isAlone).toBe(!isSent)
    const heard = Promise.withResolvers<void>()
    using _listener = await hints.listen('task-1', () => heard.resolve())
    hints.announce('task-1')
    await heard.promise
    // It sends what it has not sent yet.
    await hints[Symbol.asyncDispose]()
    expect((await recorded.read()).includes('task-1')).toBe(isSent)
  }
})

test('a replica on PostgreSQL that was alone sends hints again once another one has started, and while it runs', async () => {
  await using fleet = await setUpPostgres()
  const options = { url: fleet.url, log, aloneAfterMs: 3_000, probeEveryMs: 20 }
  await using one = await openPostgresHints(options)
  // Its own probes do not keep it from that.
  await waitFor(() => one.isAlone)
  await using two = await openPostgresHints(options)
  await waitFor(() => !one.isAlone)
  await using recorded = await recordPayloads(fleet.url)
  await waitFor(() => recorded.spanMs() > options.aloneAfterMs)
  expect(one.isAlone).toBe(false)
  const heard = Promise.withResolvers<void>()
  using _listener = await two.listen('task-1', () => heard.resolve())
  one.announce('task-1')
  await heard.promise
  await two[Symbol.asyncDispose]()
  await waitFor(() => one.isAlone)
})

test('a replica on PostgreSQL whose connection was lost lets the others know of it again', async () => {
  await using fleet = await setUpPostgres()
  await using one = await openPostgresHints({ url: fleet.url, log, aloneAfterMs: 1 })
  await using recorded = await recordPayloads(fleet.url)
  const woken = Promise.withResolvers<void>()
  using _listener = await one.listen('task-1', () => woken.resolve())
  await fleet.cut()
  // All are woken after the new connection has greeted.
  await woken.promise
  expect((await recorded.read()).some((payload) => /^\d+$/.test(payload))).toBe(true)
})

const setUpRedis = () => {
  return Promise.resolve({
    open: () => openRedisHints({ url: TEST_REDIS_URL ?? '', log }),
    async cut() {
      const redis = new Redis(TEST_REDIS_URL ?? '')
      await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
      redis.disconnect()
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  })
}
describeTaskHints('Redis hints', async () => {
  const hints = await openRedisHints({ url: TEST_REDIS_URL ?? '', log })
  return { hints, [Symbol.asyncDispose]: () => hints[Symbol.asyncDispose]() }
})
describeSharedHints('Redis hints', setUpRedis)

test('without Redis, hints still reach those of the same replica, and nobody waits for long', async () => {
  await using hints = await openRedisHints({ url: 'redis://127.0.0.1:9', log })
  const heard = Promise.withResolvers<void>()
  using _listener = await hints.listen('task', () => heard.resolve())
  hints.announce('task')
  await heard.promise
})
