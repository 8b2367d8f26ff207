import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { openPostgresHints } from '../../src/replicas/postgres-hints.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import { describeOutbox } from '../contract/outbox.ts'
import { describeTaskStore } from '../contract/task-store.ts'
import { describeUpdates } from '../contract/update-store.ts'
import { hasPgBouncer, openPooledDatabase, startPgBouncer } from '../support/pgbouncer.ts'
import { startProcess } from '../support/process.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { startSilentProxy } from '../support/proxy.ts'
import type { TestServer } from '../support/servers.ts'
import { waitFor } from '../support/wait-for.ts'

/** Of the server, or of the client. */
const CANCELLED = /canceling statement due to statement timeout|Query read timeout/
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

const describeWithPgBouncer = hasPgBouncer ? describe : describe.skip
describeWithPgBouncer('through PgBouncer in transaction mode (tools/install-pgbouncer.sh)', () => {
  let pooler: TestServer
  beforeAll(async () => {
    pooler = await startPgBouncer()
  })
  afterAll(async () => {
    await pooler[Symbol.asyncDispose]()
  })

  const setUp = async () => {
    const database = await openPooledDatabase(pooler)
    return Object.assign(database, {
      open: (hints: TaskHints) => openPostgres(database.url, hints, { log: silent }),
    })
  }
  describeTaskStore('The PostgreSQL store', setUp)
  describeUpdates('The PostgreSQL store', setUp)
  describeOutbox('The PostgreSQL store', setUp)

  test('replicas that start at once make one schema, and leave no lock behind', async () => {
    await using database = await setUp()
    await using opened = new AsyncDisposableStack()
    const hints = { announce: () => undefined, listen: () => Promise.reject(new Error('unused')) }
    await Promise.all(Array.from({ length: 4 }, async () => opened.use(await database.open(hints))))
    const client = new pg.Client({ connectionString: database.directUrl })
    await client.connect()
    // Other tests take advisory locks in their own databases meanwhile.
    const { rows } = await client.query(
      "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    await client.end()
    expect(rows).toEqual([])
  })

  test('lost notifications are noticed, said with the remedy, and made up for by reading', async () => {
    await using database = await setUp()
    const warnings: string[] = []
    const log = { ...silent, warn: (_facts: object, sentence: string) => void warnings.push(sentence) }
    await using hints = await openPostgresHints({ url: database.url, log, pollMs: 10 })
    expect(warnings).toEqual([
      expect.stringMatching(/transaction pooler.*Set DATABASE_LISTEN_URL.*or REDIS_URL/),
    ])
    const woken = Promise.withResolvers<void>()
    using _listener = await hints.listen('task', () => woken.resolve())
    await woken.promise
  })

  test('notifications that stop arriving while the service runs are noticed, and so is their return', async () => {
    await using database = await setUp()
    await using proxy = await startSilentProxy(database.directUrl)
    const lines: string[] = []
    const note = (_facts: object, sentence: string) => void lines.push(sentence)
    const log = { ...silent, warn: note, info: note }
    await using hints = await openPostgresHints({ url: proxy.url, log, pollMs: 10, probeEveryMs: 50 })
    const DEAF = /do not arrive over LISTEN.*Set DATABASE_LISTEN_URL/
    const AGAIN = /^hints of other replicas arrive again$/
    const told = () => lines.filter((line) => /do not arrive|arrive again/.test(line))
    await waitFor(() => hints.isUp)
    proxy.leadTo(pooler.url)
    await waitFor(() => !hints.isUp && DEAF.test(told().at(-1) ?? ''))
    const woken = Promise.withResolvers<void>()
    using _listener = await hints.listen('task', () => woken.resolve())
    await woken.promise
    proxy.leadTo(database.directUrl)
    await waitFor(() => hints.isUp && AGAIN.test(told().at(-1) ?? ''))
    expect(told()).toEqual([expect.stringMatching(DEAF), expect.stringMatching(AGAIN)])
  }, 60_000)

  test('the server cancels a statement that takes too long, although the pooler refuses the setting', async () => {
    await using database = await setUp()
    const hints = { announce: () => undefined, listen: () => Promise.reject(new Error('unused')) }
    await using stores = await database.open(hints)
    const other = new pg.Client({ connectionString: database.directUrl })
    await other.connect()
    await other.query('BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE')
    const ended = await Promise.allSettled([stores.store.readMany(['a']), stores.store.remove('owner', 'a')])
    for (const outcome of ended)
      expect(outcome).toMatchObject({
        status: 'rejected',
        // On a busy machine the client may give up before the answer of the server arrives.
        reason: {
          name: 'StoreUnavailableError',
          cause: { message: expect.stringMatching(CANCELLED) as unknown },
        },
      })
    // The lock is still held: a statement that only the client has given up waits on.
    await waitFor(async () => {
      const { rows } = await other.query(
        "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'task'::regclass",
      )
      return rows.length === 0
    })
    await other.query('COMMIT')
    const { rows } = await other.query('SHOW statement_timeout')
    expect(rows).toEqual([{ statement_timeout: '0' }])
    await other.end()
  })

  test('a pooler that restarts causes retryable errors only; /readyz?verbose shows the hints', async () => {
    await using own = await startPgBouncer()
    await using database = await openPooledDatabase(own)
    const settings = { DATABASE_URL: database.url, OWNER_RATE_LIMIT: '0', UPSTREAM_RATE_LIMIT: '0' }
    await using direct = await startProcess({ ...settings, DATABASE_LISTEN_URL: database.directUrl })
    await using pooled = await startProcess(settings)
    const verbose = async ({ url }: { url: string }) => (await fetch(`${url}/readyz?verbose`)).json()
    expect(await verbose(direct)).toMatchObject({
      status: 'ok',
      hints: 'ok',
      engines: { 'kie-midjourney': 'available' },
    })
    expect(await verbose(pooled)).toMatchObject({
      status: 'ok',
      hints: expect.stringMatching(/not arriving/),
    })
    const submit = (key: string) =>
      direct.run(
        `mutation { upscaleImage(input: {taskId: "s", imageIndex: 0, idempotencyKey: "${key}"}) { task { id } } }`,
      )
    await own.stop()
    expect(await submit('a')).toMatchObject({
      errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE', retryable: true } }],
    })
    expect(await verbose(direct)).toMatchObject({ status: 'store unavailable' })
    await own.start()
    const late = AbortSignal.timeout(10_000)
    let answer = await submit('a')
    while (!JSON.stringify(answer).includes('"id"')) {
      expect(answer).toMatchObject({ errors: [{ extensions: { retryable: true } }] })
      expect(late.aborted).toBe(false)
      answer = await submit('a')
    }
  }, 60_000)

  test('a direct connection hears, and nothing is warned about', async () => {
    await using database = await setUp()
    const warnings: string[] = []
    const log = { ...silent, warn: (_facts: object, sentence: string) => void warnings.push(sentence) }
    await using near = await openPostgresHints({ url: database.directUrl, log })
    await using far = await openPostgresHints({ url: database.directUrl, log })
    const woken = Promise.withResolvers<void>()
    using _listener = await near.listen('task', () => woken.resolve())
    far.announce('task')
    await woken.promise
    expect(warnings).toEqual([])
  })

  test.each([true, false])(
    'two replicas serve a task from submit to result, with limits (a URL for LISTEN: %s)',
    async (hasListenUrl) => {
      await using database = await setUp()
      await using upstream = await startScriptedUpstream()
      upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
      const settings = {
        DATABASE_URL: database.url,
        UPSTREAM_URL: upstream.url,
        OWNER_RATE_LIMIT: '3/600s',
        // Later than the test waits: only a hint, or reading in its place, brings the result.
        REASSERT_MS: '600000',
        ...(hasListenUrl && { DATABASE_LISTEN_URL: database.directUrl }),
      }
      await using one = await startProcess(settings)
      await using two = await startProcess(settings)
      expect(one.output().includes('DATABASE_LISTEN_URL')).toBe(!hasListenUrl)
      const submit = (n: number) =>
        one.run(
          `mutation { upscaleImage(input: {taskId: "source-${n}", imageIndex: 0}) { task { id } problem { code } } }`,
        )
      const { data } = (await submit(0)) as { data: { upscaleImage: { task: { id: string } } } }
      const client = createClient({
        url: `${two.url.replace('http', 'ws')}/graphql`,
        webSocketImpl: WebSocket,
      })
      const query = `subscription { taskUpdated(id: "${data.upscaleImage.task.id}") { status } }`
      const events = client.iterate({ query })
      expect((await events.next()).value).toEqual({ data: { taskUpdated: { status: 'PROCESSING' } } })
      const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
      const resultUrls = ['https://example.com/result.png']
      const body = JSON.stringify({ code: 200, data: { taskId: 'upstream-1', resultUrls } })
      expect((await fetch(callBackUrl, { method: 'POST', body })).status).toBe(200)
      expect((await events.next()).value).toEqual({ data: { taskUpdated: { status: 'SUCCEEDED' } } })
      await client.dispose()
      const answers = await Promise.all(Array.from({ length: 12 }, (_, n) => submit(n + 1)))
      const limited = answers.filter((answer) => JSON.stringify(answer).includes('RATE_LIMITED'))
      expect(limited).toHaveLength(10)
      expect((await fetch(`${two.url}/readyz`)).status).toBe(200)
    },
    60_000,
  )

  test('limits do not wait for the transactions that ask them, where the pooler has few connections', async () => {
    await using small = await startPgBouncer(3)
    await using database = await openPooledDatabase(small)
    await using service = await startProcess({
      DATABASE_URL: database.url,
      DATABASE_LISTEN_URL: database.directUrl,
      OWNER_RATE_LIMIT: '12/600s',
    })
    const answers = await Promise.all(
      Array.from({ length: 15 }, (_, n) =>
        service.run(
          `mutation { upscaleImage(input: {taskId: "source-${n}", imageIndex: 0}) { problem { code } } }`,
        ),
      ),
    )
    const limited = answers.filter((answer) => JSON.stringify(answer).includes('"RATE_LIMITED"'))
    const taken = answers.filter(
      (answer) => JSON.stringify(answer) === '{"data":{"upscaleImage":{"problem":null}}}',
    )
    expect([limited.length, taken.length]).toEqual([3, 12])
  })
})
