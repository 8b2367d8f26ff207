import { test } from '@jest/globals'
import { Redis } from 'ioredis'
import pg from 'pg'
import { openPostgresHints } from '../../src/replicas/postgres-hints.ts'
import { openRedisHints } from '../../src/replicas/redis-hints.ts'
import { describeSharedHints, describeTaskHints } from '../contract/task-hints.ts'
import { openTestSchema, TEST_DATABASE_URL } from '../support/postgres.ts'
import { TEST_REDIS_URL } from '../support/redis.ts'

const log = { info: () => undefined, warn: () => undefined, error: () => undefined }

const setUpPostgres = async () => {
  const schema = await openTestSchema()
  return Object.assign(schema, {
    open: () => openPostgresHints({ url: schema.url, log }),
    async cut() {
      const client = new pg.Client({ connectionString: TEST_DATABASE_URL })
      await client.connect()
      // Those that listen to this schema's channel, and no one else's.
      await client.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'upscale-gateway hints' AND query LIKE $1`,
        [`%${new URL(schema.url).searchParams.get('options')?.split('=')[1] ?? ''}%`],
      )
      await client.end()
    },
  })
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
