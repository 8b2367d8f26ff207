import { spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmod, writeFile } from 'node:fs/promises'
import pg from 'pg'
import { TEST_DATABASE_URL } from './postgres.ts'
import { control, findPort, toServiceUser, type TestServer } from './servers.ts'
import { openTempDir } from './temp-dir.ts'

/** Whether PgBouncer is installed; tools/install-pgbouncer.sh does that. */
export const hasPgBouncer = spawnSync('pgbouncer', ['--version']).status === 0

/**
 * PgBouncer in transaction mode, in front of the test server or another one. It takes everyone in as the user
 * of that URL.
 */
export async function startPgBouncer(
  poolSize = 30,
  serverUrl = TEST_DATABASE_URL ?? '',
): Promise<TestServer> {
  const { hostname, port: serverPort, username, password } = new URL(serverUrl)
  const dir = await openTempDir()
  const port = await findPort()
  const secret = password === '' ? '' : ` password=${decodeURIComponent(password)}`
  const settings = [
    '[databases]',
    `* = host=${hostname} port=${serverPort || 5432} user=${username}${secret}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = any',
    'pool_mode = transaction',
    `default_pool_size = ${poolSize}`,
    'server_login_retry = 1',
  ]
  await writeFile(`${dir.path}/pgbouncer.ini`, settings.join('\n'))
  await chmod(dir.path, 0o755)
  const run = () =>
    spawn('pgbouncer', ['--quiet', `${dir.path}/pgbouncer.ini`], { ...toServiceUser(), stdio: 'ignore' })
  const server = control(`postgres://127.0.0.1:${port}`, port, run, 'SIGKILL')
  await server.start()
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server.stop()
      await dir[Symbol.asyncDispose]()
    },
  }
}

/**
 * A database of its own (PgBouncer takes no `options`, hence no schema): its URL through a pooler, and
 * directly.
 */
export async function openPooledDatabase(
  pooler: TestServer,
): Promise<AsyncDisposable & { readonly url: string; readonly directUrl: string }> {
  const server = new URL(TEST_DATABASE_URL ?? '')
  const name = `test_${randomUUID().replaceAll('-', '')}`
  const run = async (statement: string) => {
    const client = new pg.Client({ connectionString: server.href })
    await client.connect()
    await client.query(statement)
    await client.end()
  }
  await run(`CREATE DATABASE ${name}`)
  const direct = new URL(server)
  direct.pathname = name
  const pooled = new URL(direct)
  pooled.host = new URL(pooler.url).host
  return {
    url: pooled.href,
    directUrl: direct.href,
    [Symbol.asyncDispose]: () => run(`DROP DATABASE ${name} WITH (FORCE)`),
  }
}
