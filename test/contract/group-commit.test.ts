import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { constants, DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import type { Sql } from '../../src/store/sql.ts'
import { createSqlite } from '../../src/store/sqlite/dialect.ts'

let folder: string
let reader: DatabaseSync
let sync: () => Promise<void>
let writer: DatabaseSync
let sqlite: Sql

beforeEach(async () => {
  sync = () => Promise.resolve()
  folder = await mkdtemp(join(tmpdir(), 'group-commit-'))
  const file = join(folder, 'test.db')
  writer = new DatabaseSync(file)
  writer.exec('PRAGMA journal_mode = WAL; CREATE TABLE mark (id INTEGER PRIMARY KEY)')
  reader = new DatabaseSync(file)
  sqlite = openSqlite(0)
})

const openSqlite = (lockTimeoutMs: number) =>
  createSqlite(writer, reader, { sync: () => sync(), lockTimeoutMs })
const build = () => sqlite.db.$extendTables<{ mark: { id: number } }>()
const read = async () => (await sqlite.run(build().selectFrom('mark').selectAll())).rows

afterEach(async () => {
  await sqlite[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

/** What is committed. */
const committed = () =>
  reader
    .prepare('SELECT id FROM mark ORDER BY id')
    .all()
    .map(({ id }) => id)

const mark = (...ids: number[]) =>
  sqlite.transact(async (run) => {
    for (const id of ids) await run(build().insertInto('mark').values({ id }))
  })

test('transactions that arrive together are committed together, and none is answered before', async () => {
  const seen: unknown[] = []
  await Promise.all(
    [1, 2, 3].map(async (id) => {
      await mark(id)
      seen.push(committed())
    }),
  )
  expect(seen).toEqual([
    [1, 2, 3],
    [1, 2, 3],
    [1, 2, 3],
  ])
})

test('a transaction that fails rolls back its own changes only', async () => {
  const ends = await Promise.allSettled([mark(1), mark(2, 1), mark(3), mark(3), mark(4)])
  expect(ends.map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
    'fulfilled',
    'rejected',
    'fulfilled',
  ])
  expect(committed()).toEqual([1, 3, 4])
})

test('a transaction sees its own changes; others see them once they are committed', async () => {
  const seen = await sqlite.transact(async (run) => {
    await run(build().insertInto('mark').values({ id: 1 }))
    return [(await run(build().selectFrom('mark').selectAll())).rows, committed()]
  })
  expect(seen).toEqual([[{ id: 1 }], []])
  expect(await read()).toEqual([{ id: 1 }])
})

test('transactions wait for the lock of another process without blocking the event loop, each for its own timeout', async () => {
  sqlite = openSqlite(600_000)
  const blocker = new DatabaseSync(join(folder, 'test.db'))
  blocker.exec('BEGIN IMMEDIATE')
  let begun = 0
  writer.setAuthorizer((_action, operation) => {
    if (operation === 'BEGIN') begun += 1
    return constants.SQLITE_OK
  })
  const writing = mark(1)
  while (begun < 3) await nextTurn()
  expect(await read()).toEqual([])
  blocker.exec('INSERT INTO mark VALUES (9); COMMIT')
  blocker.close()
  await writing
  expect(committed()).toEqual([1, 9])
})

test('a lock that is held for too long is an error with the reason and the remedy', async () => {
  const blocker = new DatabaseSync(join(folder, 'test.db'))
  blocker.exec('BEGIN IMMEDIATE')
  await expect(mark(1)).rejects.toThrow(
    /Another process has held a lock on the SQLite file for 0 ms: end its/,
  )
  blocker.exec('ROLLBACK')
  blocker.close()
  await mark(2)
  expect(committed()).toEqual([2])
})

test('a rollback that fails rejects its transactions and is no uncaught exception; the next transaction commits', async () => {
  writer.setAuthorizer((action, operation) =>
    action === constants.SQLITE_TRANSACTION && operation !== 'BEGIN'
      ? constants.SQLITE_DENY
      : constants.SQLITE_OK,
  )
  await expect(mark(1)).rejects.toThrow(/not authorized; the rollback failed, too/)
  await expect(mark(2)).rejects.toThrow('not authorized')
  writer.setAuthorizer(null)
  await mark(3)
  expect(committed()).toEqual([3])
})

test('when a group is rolled back, every transaction in it and waiting for it rejects', async () => {
  const blocker = new DatabaseSync(join(folder, 'test.db'))
  blocker.exec('BEGIN IMMEDIATE')
  const ends = await Promise.allSettled([mark(1), mark(2)])
  blocker.exec('ROLLBACK')
  blocker.close()
  expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  await mark(3)
  expect(committed()).toEqual([3])
})

test('when SQLite rolls back a group half way, its finished transactions reject, too', async () => {
  const first = mark(1)
  // As SQLite does by itself when the disk is full.
  const second = sqlite.transact(async (run) => {
    const insert = build().insertInto('mark').values({ id: 2 })
    await run(insert.onConflict((conflict) => conflict.doNothing()))
    await run(insert.orRollback())
  })
  const ends = await Promise.allSettled([first, second, mark(3)])
  expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
  await mark(4)
  expect(committed()).toEqual([4])
})

test('no transaction is answered before the sync; those that arrive meanwhile share the next commit and sync', async () => {
  const asked: PromiseWithResolvers<void>[] = []
  sync = () => {
    const disk = Promise.withResolvers<void>()
    asked.push(disk)
    return disk.promise
  }
  const told: number[] = []
  const tell = (id: number) => mark(id).then(() => told.push(id))
  const first = tell(1)
  while (asked.length < 1) await nextTurn()
  const others = [tell(2), tell(3)]
  for (let turn = 0; turn < 5; turn += 1) await nextTurn()
  expect([told, committed(), asked.length]).toEqual([[], [1], 1])
  asked[0]?.resolve()
  await first
  while (asked.length < 2) await nextTurn()
  expect([told, committed()]).toEqual([[1], [1, 2, 3]])
  asked[1]?.resolve()
  await Promise.all(others)
  expect([told, asked.length]).toEqual([[1, 2, 3], 2])
})

test('when a sync fails, every transaction of its group rejects, and the next group syncs again', async () => {
  sync = () => Promise.reject(new Error('the disk is gone'))
  const ends = await Promise.allSettled([mark(1), mark(2)])
  expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  sync = () => Promise.resolve()
  await expect(mark(3)).resolves.toBeUndefined()
})

test('after a failed sync, the log is checkpointed before a transaction is answered', async () => {
  sync = () => Promise.reject(new Error('the disk is gone'))
  await expect(mark(1)).rejects.toThrow('the disk is gone')
  sync = () => Promise.resolve()
  const blocker = new DatabaseSync(join(folder, 'test.db'))
  blocker.exec('BEGIN; SELECT * FROM mark')
  await expect(mark(2)).rejects.toThrow('cannot be checkpointed')
  blocker.exec('ROLLBACK')
  blocker.close()
  await mark(3)
  expect((await stat(join(folder, 'test.db-wal'))).size).toBe(0)
})

test('a transaction without changes does not wait for a sync', async () => {
  sync = () => Promise.reject(new Error('the disk was asked'))
  await sqlite.run(build().deleteFrom('mark').where('id', '=', 1))
  await expect(mark(2)).rejects.toThrow('the disk was asked')
})
