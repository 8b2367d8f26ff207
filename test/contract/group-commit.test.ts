import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { constants, DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import type { Kysely } from 'kysely'
import type { Database } from '../../src/store/schema.ts'
import { createSqlite } from '../../src/store/sqlite/dialect.ts'

let folder: string
let reader: DatabaseSync
let sync: () => Promise<void>
let writer: DatabaseSync
let db: Kysely<Database & { mark: { id: number } }>

beforeEach(async () => {
  sync = () => Promise.resolve()
  folder = await mkdtemp(join(tmpdir(), 'group-commit-'))
  const file = join(folder, 'test.db')
  writer = new DatabaseSync(file)
  writer.exec('PRAGMA journal_mode = WAL; CREATE TABLE mark (id INTEGER PRIMARY KEY)')
  reader = new DatabaseSync(file)
  db = openDb(0)
})

const openDb = (lockTimeoutMs: number) =>
  createSqlite(writer, reader, { sync: () => sync(), lockTimeoutMs }).db.$extendTables<{
    mark: { id: number }
  }>()

afterEach(async () => {
  await db.destroy()
  await rm(folder, { recursive: true })
})

/** What is committed. */
const committed = () =>
  reader
    .prepare('SELECT id FROM mark ORDER BY id')
    .all()
    .map(({ id }) => id)

const mark = (...ids: number[]) =>
  db.transaction().execute(async (trx) => {
    for (const id of ids) await trx.insertInto('mark').values({ id }).execute()
  })

test('what comes together is on the disk together, and nobody is told before', async () => {
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

test('a transaction that fails takes back what it did, and nothing of the others', async () => {
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

test('a transaction sees what it has written, others outside see it when it is committed', async () => {
  const seen = await db.transaction().execute(async (trx) => {
    await trx.insertInto('mark').values({ id: 1 }).execute()
    return [await trx.selectFrom('mark').selectAll().execute(), committed()]
  })
  expect(seen).toEqual([[{ id: 1 }], []])
  expect(await db.selectFrom('mark').selectAll().execute()).toEqual([{ id: 1 }])
})

test('transactions wait for the lock of another process without blocking the event loop, and each for its own time', async () => {
  db = openDb(600_000)
  const blocker = new DatabaseSync(join(folder, 'test.db'))
  blocker.exec('BEGIN IMMEDIATE')
  let begun = 0
  writer.setAuthorizer((_action, operation) => {
    if (operation === 'BEGIN') begun += 1
    return constants.SQLITE_OK
  })
  const writing = mark(1)
  while (begun < 3) await nextTurn()
  expect(await db.selectFrom('mark').selectAll().execute()).toEqual([])
  blocker.exec('INSERT INTO mark VALUES (9); COMMIT')
  blocker.close()
  await writing
  expect(committed()).toEqual([1, 9])
})

test('a lock that is held for too long is an error that says what holds up whom', async () => {
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

test('a rollback that fails rejects the transactions and no more; the next one goes on', async () => {
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

test('when the whole group is lost, everyone in it and waiting for it is told so', async () => {
  const blocker = new DatabaseSync(join(folder, 'test.db'))
  blocker.exec('BEGIN IMMEDIATE')
  const ends = await Promise.allSettled([mark(1), mark(2)])
  blocker.exec('ROLLBACK')
  blocker.close()
  expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  await mark(3)
  expect(committed()).toEqual([3])
})

test('when SQLite gives up half way, those whose turn was over are told so too', async () => {
  const first = mark(1)
  // As SQLite does by itself when the disk is full.
  const second = db.transaction().execute(async (trx) => {
    await trx
      .insertInto('mark')
      .values({ id: 2 })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
    await trx.insertInto('mark').orRollback().values({ id: 2 }).execute()
  })
  const ends = await Promise.allSettled([first, second, mark(3)])
  expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
  await mark(4)
  expect(committed()).toEqual([4])
})

test('nobody is told before the disk has it, those who come meanwhile are committed together after it, and then it is asked once', async () => {
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

test('when the disk does not take it, everyone in the group is told so, and the next one is asked for anew', async () => {
  sync = () => Promise.reject(new Error('the disk is gone'))
  const ends = await Promise.allSettled([mark(1), mark(2)])
  expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  sync = () => Promise.resolve()
  await expect(mark(3)).resolves.toBeUndefined()
})

test('once the disk has refused, the log is brought into the database before anybody is told of success', async () => {
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

test('what has changed nothing does not wait for the disk', async () => {
  sync = () => Promise.reject(new Error('the disk was asked'))
  await db.deleteFrom('mark').where('id', '=', 1).execute()
  await expect(mark(2)).rejects.toThrow('the disk was asked')
})
