/** Backup and restore of PostgreSQL, by the commands of docs/runbook.md. */
import { execFileSync, spawn } from 'node:child_process'
import { appendFile, chown, mkdir } from 'node:fs/promises'
import { expect, test } from '@jest/globals'
import pg from 'pg'
import { BACKUP_SETTINGS, expectRestored, submit } from '../support/backup-scene.ts'
import { startProcess } from '../support/process.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { control, findPort, startPostgres, toServiceUser } from '../support/servers.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { waitFor } from '../support/wait-for.ts'

const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { ...toServiceUser(), stdio: 'pipe' }).toString()

async function connect(url: string) {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

/** Starts PostgreSQL on a restored folder. Resolves once it accepts writes. */
async function recover(data: string) {
  const port = await findPort()
  const args = ['-D', data, '-p', String(port), '-k', data, '-c', 'listen_addresses=127.0.0.1']
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const isUp = async () => {
    const state = await connect(url).then(
      async (client) => {
        await using _ = client
        const { rows } = await client.query<{ pending: boolean }>('SELECT pg_is_in_recovery() AS pending')
        return rows[0]?.pending === false
      },
      () => false,
    )
    return state
  }
  const start = () => spawn('postgres', args, { ...toServiceUser(), stdio: 'ignore' })
  const server = control(url, port, start, 'SIGINT', () => waitFor(isUp))
  await server.start()
  return { url, [Symbol.asyncDispose]: () => server.stop() }
}

test('a dump that is made while the service runs has its tasks, keys and deliveries', async () => {
  await using dir = await openTempDir()
  const user = toServiceUser()
  if (user !== undefined) await chown(dir.path, user.uid, user.gid)
  await using server = await startPostgres()
  await using upstream = await startScriptedUpstream()
  const settings = { ...BACKUP_SETTINGS, UPSTREAM_URL: upstream.url }
  await using service = await startProcess({ ...settings, DATABASE_URL: server.url })
  const before = { ...(await submit(service, 'before')), name: 'before' }
  run('pg_dump', '--format=custom', `--file=${dir.path}/upscale.dump`, server.url)
  await submit(service, 'after')

  const empty = server.url.replace(/postgres$/, 'restored')
  run('createdb', `--maintenance-db=${server.url}`, 'restored')
  run(
    'pg_restore',
    '--exit-on-error',
    '--single-transaction',
    '--no-owner',
    `--dbname=${empty}`,
    `${dir.path}/upscale.dump`,
  )
  await using restored = await startProcess({ ...settings, DATABASE_URL: empty })
  await expectRestored(restored, [before])
  expect(await submit(restored, 'after')).toMatchObject({ replayed: false })
})

test('a restore to a point in time has what was committed before, and nothing after', async () => {
  await using dir = await openTempDir()
  const user = toServiceUser()
  await mkdir(`${dir.path}/wal`)
  if (user !== undefined)
    for (const path of [dir.path, `${dir.path}/wal`]) await chown(path, user.uid, user.gid)
  await using server = await startPostgres()
  {
    await using client = await connect(server.url)
    for (const [name, value] of [
      ['archive_mode', 'on'],
      ['archive_command', `cp %p ${dir.path}/wal/%f`],
    ] as const)
      await client.query(`ALTER SYSTEM SET ${name} = '${value}'`)
  }
  await server.stop()
  await server.start()
  await using upstream = await startScriptedUpstream()
  const settings = { ...BACKUP_SETTINGS, UPSTREAM_URL: upstream.url }
  await using service = await startProcess({ ...settings, DATABASE_URL: server.url })
  run(
    'pg_basebackup',
    `--dbname=${server.url}`,
    `--pgdata=${dir.path}/base`,
    '--checkpoint=fast',
    '--no-sync',
  )
  const before = { ...(await submit(service, 'before')), name: 'before' }
  const at = run('psql', '-qtA', '-c', 'SELECT clock_timestamp()', server.url).trim()
  await submit(service, 'after')
  service.child.kill('SIGTERM')
  await service.exited
  // A fast stop archives the rest.
  await server.stop()

  const recovery = [
    `restore_command = 'cp ${dir.path}/wal/%f %p'`,
    `recovery_target_time = '${at}'`,
    `recovery_target_action = 'promote'`,
    'archive_mode = off',
  ]
  await appendFile(`${dir.path}/base/postgresql.auto.conf`, `${recovery.join('\n')}\n`)
  run('touch', `${dir.path}/base/recovery.signal`)
  await using recovered = await recover(`${dir.path}/base`)
  await using restored = await startProcess({ ...settings, DATABASE_URL: recovered.url })
  await expectRestored(restored, [before])
})
