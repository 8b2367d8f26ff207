import { randomUUID } from 'node:crypto'
import { expect, test } from '@jest/globals'
import pg from 'pg'
import { migratePostgres } from '../../src/store/postgres-migrations.ts'
import { PREVIOUS_SCHEMA } from '../contract/engine-migration.ts'
import { openTestSchema } from '../support/postgres.ts'
import { startProcess } from '../support/process.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }
const UPSCALE = 'mutation { upscaleImage(input: {taskId: "a", imageIndex: 0}) { task { status } } }'

async function connect(connectionString: string) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

async function runAll(url: string, statements: readonly string[]): Promise<void> {
  await using client = await connect(url)
  for (const statement of statements) await client.query(statement)
}

test('a migration that waits for a table, as while a backup runs, does not stop the statements of replicas', async () => {
  await using schema = await openTestSchema()
  await migratePostgres(schema.url, silent)
  await runAll(schema.url, PREVIOUS_SCHEMA)
  await using backup = await connect(schema.url)
  await backup.query('begin')
  await backup.query('lock table task in access share mode')
  const waiting = Promise.withResolvers<string>()
  const warn = (_facts: object, sentence: string) => waiting.resolve(sentence)
  const migrating = migratePostgres(schema.url, { ...silent, warn })
  expect(await waiting.promise).toMatch(/^The migration waits for another session/)
  await using replica = await connect(schema.url)
  await replica.query(`set statement_timeout = '1.5s'`)
  expect((await replica.query('select id from task')).rows).toEqual([])
  await backup.query('commit')
  await migrating
  expect((await replica.query('select engine from task')).rows).toEqual([])
}, 60_000)

test('a user that may change rows, but no tables, runs the service once its schema is migrated', async () => {
  await using schema = await openTestSchema()
  const user = `test_${randomUUID().replaceAll('-', '')}`
  await using _user = {
    [Symbol.asyncDispose]: () => runAll(schema.url, [`drop owned by ${user}`, `drop role ${user}`]),
  }
  await migratePostgres(schema.url, silent)
  await runAll(schema.url, [
    `create role ${user} login`,
    `grant usage on schema ${schema.name} to ${user}`,
    `grant select, insert, update, delete on all tables in schema ${schema.name} to ${user}`,
  ])
  const limited = new URL(schema.url)
  limited.username = user
  {
    // Not in sandbox mode: the sandbox makes a table of its own.
    await using upstream = await startScriptedUpstream()
    const live = { UPSTREAM_URL: upstream.url, UPSTREAM_API_KEY: 'key', AUTH_MODE: 'none' }
    await using service = await startProcess({ DATABASE_URL: limited.href, ...live })
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200)
    expect(await service.run(UPSCALE)).toMatchObject({
      data: { upscaleImage: { task: { status: 'PROCESSING' } } },
    })
  }
  await runAll(schema.url, PREVIOUS_SCHEMA)
  await using refused = await startProcess({ DATABASE_URL: limited.href })
  expect(await refused.exited).toEqual({ code: 1, signal: null })
  expect(refused.output()).toMatch(
    /^DATABASE_URL: .*must be owner of .*; .*`node dist\/main\.js migrate` as the owner.*\n$/,
  )
}, 60_000)
