import { existsSync } from 'node:fs'
import { mkdir, stat, symlink, writeFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from '@jest/globals'
import { Kysely, SqliteAdapter, DummyDriver, SqliteIntrospector, SqliteQueryCompiler } from 'kysely'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { toChangesQuery } from '../../src/store/task-changes.ts'
import { toListQuery } from '../../src/store/tasks.ts'
import type { Database } from '../../src/store/schema.ts'
import { createSqlite } from '../../src/store/sqlite/dialect.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import { newTask } from '../support/new-task.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { describeEngineMigration } from './engine-migration.ts'
import { describeErasure } from './erasure.ts'
import { describeOutbox } from './outbox.ts'
import { describeQueueStore, readQueueStatements } from './queue-store.ts'
import { describeResultJobs } from './result-jobs.ts'
import { describeTaskStore } from './task-store.ts'
import { describeUpdates } from './update-store.ts'

const setUp = async () => {
  const dir = await openTempDir()
  const file = `${dir.path}/folder/tasks.db`
  return Object.assign(dir, {
    open: (hints: Parameters<typeof openSqlite>[1]) => openSqlite(file, hints),
    run(statements: readonly string[]) {
      using sqlite = new DatabaseSync(file)
      for (const statement of statements) sqlite.exec(statement)
      return Promise.resolve()
    },
  })
}
describeTaskStore('The SQLite store', setUp)
describeUpdates('The SQLite store', setUp)
describeResultJobs('The SQLite store', setUp)
describeErasure('The SQLite store', setUp)
describeOutbox('The SQLite store', setUp)
describeQueueStore('The SQLite store', setUp)
describeEngineMigration('A SQLite database', setUp)

test('nobody can write between a look for a claim and the insert that relies on it', async () => {
  await using dir = await openTempDir()
  const file = `${dir.path}/tasks.db`
  await using stores = await openSqlite(file, createLocalHints())
  using other = new DatabaseSync(file, { timeout: 0 })
  const admit = () => {
    expect(() => other.exec('BEGIN IMMEDIATE')).toThrow('database is locked')
    return Promise.resolve(null)
  }
  expect(await stores.store.insert(newTask(), { admit })).toEqual({ inserted: true })
  expect.assertions(2)
})

test('a database is opened under a name that only points to it', async () => {
  await using dir = await openTempDir()
  await mkdir(`${dir.path}/elsewhere`)
  await writeFile(`${dir.path}/elsewhere/real.db`, '')
  await symlink(`${dir.path}/elsewhere/real.db`, `${dir.path}/link.db`)
  await using stores = await openSqlite(`${dir.path}/link.db`, createLocalHints())
  expect(await stores.store.insert(newTask(), {})).toEqual({ inserted: true })
})

describe('with 300,000 tasks', () => {
  const builder = new Kysely<Database>({
    dialect: {
      createAdapter: () => new SqliteAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  })

  test('counts are kept by triggers, and every page of a list is read in the order of an index', async () => {
    await using dir = await openTempDir()
    const file = `${dir.path}/tasks.db`
    await using stores = await openSqlite(file, createLocalHints())
    await stores.store.insert(newTask({ id: 'one', status: 'SUCCEEDED' }), {})
    using sqlite = new DatabaseSync(file)
    const names = sqlite
      .prepare('select name from pragma_table_info(?)')
      .all('task')
      .map(({ name }) => String(name))
    const varied: Record<string, string> = {
      id: `'one-' || n`,
      status: `iif(n % 1000 = 0, 'FAILED', status)`,
    }
    sqlite.exec(
      `with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < 299999)
       insert into task (${names.join()}) select ${names.map((name) => varied[name] ?? name).join()} from task, numbers`,
    )
    expect(await stores.store.countByStatus()).toEqual({ SUCCEEDED: 299_701, FAILED: 299 })
    const page = await stores.store.list({ owner: 'owner', status: 'FAILED', after: null, limit: 3 })
    expect(page.map(({ id }) => id)).toEqual(['one-99000', 'one-98000', 'one-97000'])

    const after = { createdAt: 1_000, id: 'one-5' }
    for (const [query, index] of [
      [{ status: null, after: null }, 'taskByOwner (owner=?)'],
      [{ status: null, after }, 'taskByOwner (owner=? AND (createdAt,id)<(?,?))'],
      [{ status: 'FAILED', after: null }, 'taskByOwnerStatus (owner=? AND status=?)'],
      [{ status: 'FAILED', after }, 'taskByOwnerStatus (owner=? AND status=? AND (createdAt,id)<(?,?))'],
    ] as const) {
      const { sql, parameters } = toListQuery(builder, { owner: 'owner', limit: 21, ...query }).compile()
      const plan = sqlite.prepare(`explain query plan ${sql}`).all(...(parameters as string[]))
      expect(plan.map(({ detail }) => detail)).toEqual([`SEARCH task USING INDEX ${index}`])
    }
    for (const [after, found] of [
      [null, 'updatedAt>?'],
      [{ updatedAt: 1_000, id: 'one-5' }, '(updatedAt,id)>(?,?)'],
    ] as const) {
      const query = toChangesQuery(builder, { owner: 'owner', since: 1, after, limit: 500 })
      const { sql, parameters } = query.compile()
      const plan = sqlite.prepare(`explain query plan ${sql}`).all(...(parameters as string[]))
      expect(plan.map(({ detail }) => detail)).toEqual([
        `SEARCH task USING INDEX taskByOwnerChange (owner=? AND ${found})`,
      ])
    }
  })
})

test('the statements of the queue read an index of the waiting tasks, in its order', async () => {
  await using dir = await openTempDir()
  const file = `${dir.path}/tasks.db`
  await using _stores = await openSqlite(file, createLocalHints())
  const open = () => new DatabaseSync(file)
  await using sqlite = createSqlite(open(), open(), { sync: () => Promise.resolve(), lockTimeoutMs: 5_000 })
  const { claim, nextDue, list } = await readQueueStatements(sqlite)
  using reader = open()
  const planOf = ({ sql, parameters }: typeof claim) =>
    reader
      .prepare(`explain query plan ${sql}`)
      .all(...(parameters as string[]))
      .map(({ detail }) => String(detail))
  expect(planOf(nextDue)).toEqual([
    'SEARCH task USING COVERING INDEX taskByEngineQueueDue (engine=? AND queueDueAt>?)',
  ])
  expect(planOf(list)).toEqual(['SCAN task USING COVERING INDEX taskByEngineQueue'])
  expect(planOf(claim)).toEqual([
    'SEARCH task USING COVERING INDEX sqlite_autoindex_task_1 (id=?)',
    'LIST SUBQUERY 2',
    'SEARCH task USING COVERING INDEX taskByEngineQueue (engine=? AND queueRank>?)',
  ])
})

test.each([
  'BEGIN IMMEDIATE',
  'PRAGMA journal_mode = WAL; BEGIN IMMEDIATE',
  'PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE',
])(
  'a database that another process has locked (%s) is opened once the lock is gone, without blocking the event loop',
  async (lock) => {
    await using dir = await openTempDir()
    const other = new DatabaseSync(`${dir.path}/tasks.db`)
    other.exec(`CREATE TABLE theirs (id INTEGER); ${lock}`)
    const opening = openSqlite(`${dir.path}/tasks.db`, createLocalHints(), { lockTimeoutMs: 600_000 })
    // Its first file: what follows is tried in the same turn.
    while (!existsSync(`${dir.path}/tasks.db-lock`)) await nextTurn()
    other.exec('COMMIT')
    other.close()
    await using stores = await opening
    expect(await stores.store.insert(newTask(), {})).toEqual({ inserted: true })
  },
)

test('a database that stays locked is not opened, and says why', async () => {
  await using dir = await openTempDir()
  using other = new DatabaseSync(`${dir.path}/tasks.db`)
  other.exec('CREATE TABLE theirs (id INTEGER); BEGIN IMMEDIATE')
  const opening = openSqlite(`${dir.path}/tasks.db`, createLocalHints(), { lockTimeoutMs: 0 })
  await expect(opening).rejects.toThrow('Another process has held a lock on the SQLite file for 0 ms')
})

test('the log grows to 16 MiB before it is moved into the database, and not beyond', async () => {
  await using dir = await openTempDir()
  const file = `${dir.path}/tasks.db`
  await using stores = await openSqlite(file, createLocalHints())
  const MIB = 2 ** 20
  for (let n = 0; n < 40; n += 1)
    await stores.store.insert(newTask({ sourceTaskId: 'x'.repeat(MIB) }), { force: true })
  const { size } = await stat(`${file}-wal`)
  expect(size).toBeGreaterThan(15 * MIB)
  expect(size).toBeLessThan(19 * MIB)
})
