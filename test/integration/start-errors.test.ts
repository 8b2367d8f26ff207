import { once } from 'node:events'
import { mkdir, open, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { toListenError } from '../../src/start-error.ts'
import { startProcess } from '../support/process.ts'
import { openTempDir } from '../support/temp-dir.ts'

describe('a start that fails says why in one line, without a stack or a secret', () => {
  let dir: Awaited<ReturnType<typeof openTempDir>>
  beforeEach(async () => {
    dir = await openTempDir()
  })
  afterEach(async () => {
    await dir[Symbol.asyncDispose]()
  })

  /** What the process says instead of starting. */
  async function failure(settings: Record<string, string>): Promise<string> {
    await using service = await startProcess({ DATABASE_URL: `file:${dir.path}/ok.db`, ...settings })
    expect(await service.exited).toEqual({ code: 1, signal: null })
    const lines = service.output().trim().split('\n')
    const told = lines.filter((line) => !line.startsWith('{'))
    expect(told).toHaveLength(1)
    expect(told[0]).not.toContain('secret')
    return told[0] ?? ''
  }

  test('a database in a folder that cannot be made', async () => {
    await writeFile(`${dir.path}/file`, '')
    expect(await failure({ DATABASE_URL: `file:${dir.path}/file/x/a.db` })).toMatch(
      /^DATABASE_URL: \/.*\/file\/x\/a\.db: ENOTDIR.*; a part of the path is a file: name a path in a folder$/,
    )
  })

  test('a database that is a folder', async () => {
    await mkdir(`${dir.path}/a.db`)
    expect(await failure({ DATABASE_URL: `file:${dir.path}/a.db` })).toMatch(
      /^DATABASE_URL: \/.*\/a\.db: unable to open database file; check that its folder exists/,
    )
  })

  test('a file that is no database', async () => {
    await writeFile(`${dir.path}/a.db`, 'something else '.repeat(1_000))
    expect(await failure({ DATABASE_URL: `file:${dir.path}/a.db` })).toMatch(
      /^DATABASE_URL: \/.*\/a\.db: file is not a database; name another file, or restore a backup/,
    )
  })

  test('a corrupt database', async () => {
    const file = `${dir.path}/a.db`
    {
      using db = new DatabaseSync(file)
      db.exec('CREATE TABLE a (b TEXT)')
    }
    const damage = Buffer.alloc(4_096, 0xff)
    await using handle = await open(file, 'r+')
    await handle.write(damage, 0, damage.length - 100, 100)
    expect(await failure({ DATABASE_URL: `file:${file}` })).toMatch(
      /^DATABASE_URL: \/.*\/a\.db: .*malformed; the file is corrupt: restore a backup/,
    )
  })

  test('a folder of pictures that is missing', async () => {
    expect(await failure({ SANDBOX_IMAGES: `${dir.path}/none` })).toMatch(
      /^SANDBOX_IMAGES: cannot read the folder \/.*\/none: ENOENT.*; name a folder of pictures, or unset it/,
    )
  })

  test('a folder of pictures that holds none', async () => {
    expect(await failure({ SANDBOX_IMAGES: dir.path })).toMatch(
      /^SANDBOX_IMAGES: the folder \/.* holds no picture .*; name a folder of pictures, or unset it/,
    )
  })

  test('a file for the tasks of the sandbox that is no database', async () => {
    await writeFile(`${dir.path}/ok.db-sandbox`, 'something else '.repeat(1_000))
    expect(await failure({})).toMatch(
      /^DATABASE_URL: the sandbox cannot keep its tasks in \/.*\/ok\.db-sandbox: file is not a database; /,
    )
  })

  test('a PostgreSQL server that is not there, whatever addresses its name has', async () => {
    expect(await failure({ DATABASE_URL: 'postgres://u:secret@localhost:9/x' })).toMatch(
      /^DATABASE_URL: the PostgreSQL server localhost:9\/x: .*connect ECONNREFUSED 127\.0\.0\.1:9.*; check host and port/,
    )
  })

  test('a PostgreSQL server whose name nobody knows', async () => {
    expect(await failure({ DATABASE_URL: 'postgres://u:secret@db.invalid/x' })).toMatch(
      /^DATABASE_URL: the PostgreSQL server db\.invalid\/x: getaddrinfo (ENOTFOUND|EAI_AGAIN) db\.invalid; /,
    )
  })

  test.each(['PORT', 'CALLBACK_PORT', 'METRICS_PORT'])(
    'a %s that another process listens on',
    async (setting) => {
      const other = createServer().listen(0, '127.0.0.1')
      await once(other, 'listening')
      const { port } = other.address() as AddressInfo
      expect(await failure({ [setting]: String(port) })).toBe(
        `${setting}: another process listens on port ${port} (EADDRINUSE): stop it (\`lsof -i :${port}\` names it), or set ${setting} to a free one`,
      )
      other.close()
    },
  )

  test.each([
    ['nowhere.invalid', /^HOST: "nowhere\.invalid" cannot be resolved \((ENOTFOUND|EAI_AGAIN)\): use/],
    ['192.0.2.1', /^HOST: 192\.0\.2\.1 is no address of this machine \(EADDRNOTAVAIL\): use/],
  ])('a HOST that is not of this machine: %s', async (HOST, expected) => {
    expect(await failure({ HOST })).toMatch(expected)
  })
})

test('a port that only root may listen on names the setting to change', () => {
  const error = Object.assign(new Error('listen EACCES'), { code: 'EACCES', syscall: 'listen', port: 80 })
  const config = { host: '0.0.0.0', port: 80, callbackPort: null, metricsPort: null }
  expect(toListenError(error, config)?.message).toBe(
    'PORT: this user may not listen on port 80 (EACCES): set PORT to 1024 or higher',
  )
})

test('what nobody expected is shown with its stack', async () => {
  await using dir = await openTempDir()
  // A release after this one has other tables: none of ours can be made.
  {
    using db = new DatabaseSync(`${dir.path}/a.db`)
    db.exec('CREATE TABLE task (id TEXT)')
  }
  await using service = await startProcess({ DATABASE_URL: `file:${dir.path}/a.db` })
  expect(await service.exited).toEqual({ code: 1, signal: null })
  expect(service.output()).toMatch(/already exists[^]*\bat .*\.js/)
})

test('a misspelt setting is pointed out by name: in the log, and beside the fault that it causes', async () => {
  await using dir = await openTempDir()
  const settings = { DATABASE_URL: `file:${dir.path}/a.db`, UPSTREAM_APIKEY: 'secret' }
  const hint = 'UPSTREAM_APIKEY is not a setting of this service: did you mean UPSTREAM_API_KEY?'
  await using service = await startProcess(settings)
  expect(service.output()).toContain(`"msg":"${hint}"`)
  await using failed = await startProcess({ ...settings, PORT: 'x' })
  expect(await failed.exited).toEqual({ code: 1, signal: null })
  expect(failed.output()).toMatch(/PORT must be a whole number.*\nUPSTREAM_APIKEY is not a setting/)
  expect(service.output() + failed.output()).not.toContain('secret')
})
