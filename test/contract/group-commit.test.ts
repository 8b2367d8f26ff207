import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import type { Kysely } from 'kysely'
import type { Database } from '../../src/store/schema.ts'
import { createSqlite } from '../../src/store/sqlite-dialect.ts'

let folder: string
let reader: DatabaseSync
let db: Kysely<Database & { mark: { id: number } }>

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'group-commit-'))
  const file = join(folder, 'test.db')
  const writer = new DatabaseSync(file)
  writer.exec('PRAGMA journal_mode = WAL; CREATE TABLE mark (id INTEGER PRIMARY KEY)')
  reader = new DatabaseSync(file)
  db = createSqlite(writer, reader).db.$extendTables<{ mark: { id: number } }>()
})

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
