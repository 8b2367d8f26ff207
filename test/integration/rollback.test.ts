import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { openTestDatabase, type TestDatabase } from '../support/database.ts'
import { buildPreviousRelease, findMissingHistory } from '../support/previous-release.ts'
import { startProcess } from '../support/process.ts'
import { json, startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'

const missing = await findMissingHistory()
if (missing !== undefined) process.stderr.write(`Left out: the tests with the previous release: ${missing}\n`)
const describeWithPrevious = missing === undefined ? describe : describe.skip

/** What a later build of the same major version adds. */
const LATER = [
  'alter table task add column later text',
  `alter table delivery add column later integer not null default 7`,
  'create table later (id text primary key not null)',
  'create index "taskByLater" on task (later)',
  `insert into upscale_expansion values ('0-999-later', '2030-01-01T00:00:00.000Z')`,
]
const RESULT = 'https://example.com/result.png'

// Each test starts several processes.
jest.setTimeout(90_000)

let database: TestDatabase
let upstream: ScriptedUpstream
beforeEach(async () => {
  database = await openTestDatabase()
  upstream = await startScriptedUpstream()
})
afterEach(async () => {
  await upstream[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const isShared = () => database.url.startsWith('postgres')
const start = (main: string, ...command: string[]) =>
  startProcess({ DATABASE_URL: database.url, UPSTREAM_URL: upstream.url }, [main, ...command])
type Service = Awaited<ReturnType<typeof start>>

const migrateToLater = async () => {
  for (const statement of LATER) await database.run(statement)
}

/** Runs `main migrate`: its exit code and its lines of output. */
async function migrate() {
  await using service = await start('dist/main.js', 'migrate')
  const { code } = await service.exited
  return { code, lines: service.output().trim().split('\n') }
}

/** Ends a process that has a SQLite file for itself. Replicas on PostgreSQL run on, beside the next one. */
async function giveWay(service: Service) {
  if (isShared()) return
  service.child.kill('SIGTERM')
  expect(await service.exited).toEqual({ code: 0, signal: null })
}

async function submit(service: Service, source: string) {
  const upstreamTaskId = `upstream-${source}`
  upstream.onCreate = json(200, { code: 200, msg: 'success', data: { taskId: upstreamTaskId } })
  const { data } = (await service.run(
    `mutation { upscaleImage(input: {taskId: "${source}", imageIndex: 0}) { task { id status } } }`,
  )) as { data: { upscaleImage: { task: { id: string; status: string } } } }
  const { task } = data.upscaleImage
  expect(task.status).toBe('PROCESSING')
  const { callBackUrl } = JSON.parse(upstream.received.at(-1)?.body ?? '') as { callBackUrl: string }
  return {
    id: task.id,
    /** Sends the result to another process than the one that has submitted. */
    async succeed(at: Service) {
      const url = new URL(new URL(callBackUrl).pathname, at.url)
      const body = JSON.stringify({ code: 200, data: { taskId: upstreamTaskId, resultUrls: [RESULT] } })
      expect((await fetch(url, { method: 'POST', body })).status).toBe(200)
    },
  }
}

const read = async (service: Service, id: string) =>
  (await service.run(`{ upscaleTask(id: "${id}") { status images { url } } }`)) as object
const SUCCEEDED = { data: { upscaleTask: { status: 'SUCCEEDED', images: [{ url: RESULT }] } } }

describeWithPrevious('the previous release', () => {
  let previous: Awaited<ReturnType<typeof buildPreviousRelease>>
  beforeAll(async () => {
    previous = await buildPreviousRelease()
  }, 180_000)
  afterAll(async () => {
    await previous[Symbol.asyncDispose]()
  })

  test.each([
    ['this build', () => Promise.resolve()],
    ['a later build', migrateToLater],
  ])('starts on the schema of %s, and each settles what the other has submitted', async (_name, change) => {
    await using first = await start('dist/main.js')
    const early = await submit(first, 'early')
    await giveWay(first)
    await change()
    await using rolledBack = await start(previous.main)
    await early.succeed(rolledBack)
    expect(await read(rolledBack, early.id)).toEqual(SUCCEEDED)
    const late = await submit(rolledBack, 'late')
    await giveWay(rolledBack)
    await using again = await start('dist/main.js')
    await late.succeed(again)
    for (const { id } of [early, late]) expect(await read(again, id)).toEqual(SUCCEEDED)
    expect(upstream.received.filter(({ method }) => method === 'POST')).toHaveLength(2)
    for (const service of [first, rolledBack, again]) expect(service.output()).not.toContain('"level":50')
  })

  test('opens its own schema to this build while it runs', async () => {
    await using old = await start(previous.main)
    const early = await submit(old, 'early')
    await giveWay(old)
    await using service = await start('dist/main.js')
    const late = await submit(service, 'late')
    await giveWay(service)
    await using again = isShared() ? old : await start(previous.main)
    for (const task of [early, late]) {
      await task.succeed(again)
      expect(await read(again, task.id)).toEqual(SUCCEEDED)
    }
  })
})

describe('a database that a later build has migrated', () => {
  beforeEach(async () => {
    await (
      await start('dist/main.js', 'migrate')
    ).exited
    await migrateToLater()
  })

  test('of the same major version is used, and left as it is', async () => {
    await using service = await start('dist/main.js')
    const task = await submit(service, 'source')
    await task.succeed(service)
    expect(await read(service, task.id)).toEqual(SUCCEEDED)
    await giveWay(service)
    const { code, lines } = await migrate()
    expect(code).toBe(0)
    expect(lines).toEqual([expect.stringContaining('The database is at 0-999-later: nothing to migrate')])
  })

  test('of a later major version is refused, with the remedy', async () => {
    await database.run(`insert into upscale_expansion values ('10-001-next', '2030-01-01T00:00:00.000Z')`)
    await using service = await start('dist/main.js')
    expect(await service.exited).toEqual({ code: 1, signal: null })
    expect(service.output()).toMatch(
      /^DATABASE_URL: .*A later major version has migrated the database \(10-001-next\).*; run that version.*\n$/,
    )
    expect((await migrate()).code).toBe(1)
  })
})

describe('migrate', () => {
  test('migrates an empty database, says so in one line, and a start finds nothing to do', async () => {
    const first = await migrate()
    expect(first.code).toBe(0)
    expect(first.lines).toEqual([
      expect.stringMatching(/"msg":"The database was migrated from empty to \S+"/),
    ])
    const second = await migrate()
    expect(second.code).toBe(0)
    expect(second.lines).toEqual([
      expect.stringMatching(/"msg":"The database is at \S+: nothing to migrate"/),
    ])
    await using service = await start('dist/main.js')
    expect(service.output()).not.toContain('was migrated')
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200)
  })

  test('ends with exit code 1 and the reason if the database cannot be opened', async () => {
    const settings = {
      DATABASE_URL: isShared() ? 'postgres://u:secret@localhost:9/x' : 'file:/dev/null/a.db',
    }
    await using service = await startProcess(settings, ['dist/main.js', 'migrate'])
    expect(await service.exited).toEqual({ code: 1, signal: null })
    expect(service.output()).toMatch(/^DATABASE_URL: .*; .*\n$/)
    expect(service.output()).not.toContain('secret')
  })

  test('is spelt right, or nothing starts', async () => {
    await using service = await start('dist/main.js', 'migrat')
    expect(await service.exited).toEqual({ code: 1, signal: null })
    expect(service.output()).toMatch(/^"migrat" is no command: use erase, migrate, sandbox.*\n$/)
  })
})
