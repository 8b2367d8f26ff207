import { existsSync } from 'node:fs'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/hints/local.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import { newTask } from '../support/new-task.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { describeOutbox } from './outbox.ts'
import { describeTaskStore } from './task-store.ts'

const setUp = async () => {
  const dir = await openTempDir()
  return Object.assign(dir, {
    open: (hints: Parameters<typeof openSqlite>[1]) => openSqlite(`${dir.path}/folder/tasks.db`, hints),
  })
}
describeTaskStore('The SQLite store', setUp)
describeOutbox('The SQLite store', setUp)

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
    while (!existsSync(`${dir.path}/tasks.db-open`)) await nextTurn()
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
