import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
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
