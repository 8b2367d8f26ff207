import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { print } from 'graphql'
import { FollowAllDocument, FollowTasksDocument } from '../generated/operations.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { hasPgBouncer, openPooledDatabase, startPgBouncer } from '../support/pgbouncer.ts'
import { openTestSchema } from '../support/postgres.ts'
import { TEST_REDIS_URL } from '../support/redis.ts'
import { json, startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { openOnSocket, type TaskStream } from '../support/task-stream.ts'

/** Databases of two replicas, with the settings of both. */
const openDatabase = async (settings: Record<string, string> = {}) => {
  const { url, ...schema } = await openTestSchema()
  return { ...schema, settings: { DATABASE_URL: url, ...settings } }
}
const openPooled = async () => {
  const pooler = await startPgBouncer()
  const database = await openPooledDatabase(pooler)
  return {
    settings: { DATABASE_URL: database.url },
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]()
      await pooler[Symbol.asyncDispose]()
    },
  }
}

describe.each([
  ['by NOTIFY', () => openDatabase()],
  ['by Redis', () => openDatabase({ REDIS_URL: TEST_REDIS_URL ?? '' })],
  ...(hasPgBouncer ? [['not at all, through PgBouncer', openPooled] as const] : []),
] as const)('streams of one replica, about tasks of another whose hints come %s', (_name, open) => {
  let database: Awaited<ReturnType<typeof open>>
  let upstream: ScriptedUpstream
  let one: Gateway
  let two: Gateway
  beforeEach(async () => {
    upstream = await startScriptedUpstream()
    upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
    database = await open()
    const settings = {
      UPSTREAM_URL: upstream.url,
      // Later than the test waits: only a hint, or reading in its place, brings an event.
      REASSERT_MS: '600000',
      ...database.settings,
    }
    one = await startGateway(settings)
    two = await startGateway(settings)
  }, 30_000)
  afterEach(async () => {
    await one[Symbol.asyncDispose]()
    await two[Symbol.asyncDispose]()
    await database[Symbol.asyncDispose]()
    await upstream[Symbol.asyncDispose]()
  })

  /** Submits a task to replica one, where the upstream calls back, too. */
  async function submit() {
    const { data } = await one.run<{ upscaleImage: { task: { id: string } } }, Record<string, unknown>>(
      'HTTP',
      'mutation { upscaleImage(input: { taskId: "source", imageIndex: 0, force: true }) { task { id } } }',
    )
    const { callBackUrl } = JSON.parse(upstream.received.at(-1)?.body ?? '') as { callBackUrl: string }
    const resultUrls = ['https://example.com/result.png']
    const body = JSON.stringify({ code: 200, data: { taskId: 'upstream-1', resultUrls } })
    const succeed = async () => {
      expect((await fetch(callBackUrl, { method: 'POST', body })).status).toBe(200)
    }
    return { id: data?.upscaleImage.task.id ?? '', succeed }
  }
  const follow = (query: string, variables = {}) =>
    openOnSocket({ url: two.url, query, variables, authorization: null })
  /** Reads until the tasks have these versions; a replica may skip versions, and never goes back. */
  async function readUntil(stream: TaskStream, versions: Record<string, number>) {
    const seen: Record<string, number> = {}
    while (!Object.entries(versions).every(([id, version]) => seen[id] === version)) {
      const [task] = Object.values((await stream.next())?.data ?? {})
      if (!task) throw new Error('An event has no task')
      expect(task.version).toBeGreaterThan(seen[task.id] ?? 0)
      seen[task.id] = task.version
    }
  }

  test('tasksUpdated sends each state, and completes', async () => {
    const [a, b] = [await submit(), await submit()]
    await using stream = await follow(print(FollowTasksDocument), { ids: [a.id, b.id] })
    await readUntil(stream, { [a.id]: 2, [b.id]: 2 })
    await b.succeed()
    await readUntil(stream, { [b.id]: 3 })
    await a.succeed()
    await readUntil(stream, { [a.id]: 3 })
    expect(await stream.next()).toBeUndefined()
  }, 30_000)

  test('upscaleTasksChanged sends new tasks and changes', async () => {
    const a = await submit()
    await using stream = await follow(print(FollowAllDocument))
    await readUntil(stream, { [a.id]: 2 })
    const b = await submit()
    await readUntil(stream, { [b.id]: 2 })
    await a.succeed()
    await readUntil(stream, { [a.id]: 3 })
    const many = [await submit(), await submit(), await submit()]
    for (const each of many) await each.succeed()
    await readUntil(stream, Object.fromEntries(many.map(({ id }) => [id, 3])))
  }, 30_000)
})
