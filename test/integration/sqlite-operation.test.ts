import { execFileSync } from 'node:child_process'
import { copyFile, rename } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from '@jest/globals'
import { startGateway } from '../support/gateway.ts'
import { startProcess } from '../support/process.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

const UPSCALE =
  'mutation { upscaleImage(input: {taskId: "source", imageIndex: 0, force: true}) { task { status } } }'
const LIST = '{ upscaleTasks { edges { node { status } } } }'

test('while another process holds the write lock, reads, sockets and /livez are answered, and writes follow', async () => {
  await using dir = await openTempDir()
  await using gateway = await startGateway({ DATABASE_URL: `file:${dir.path}/g.db` })
  const other = new DatabaseSync(`${dir.path}/g.db`)
  other.exec('BEGIN IMMEDIATE')
  const writing = gateway.run('HTTP', UPSCALE)
  expect((await fetch(`${gateway.url}/livez`)).status).toBe(200)
  for (const transport of ['HTTP', 'WebSocket'] as const)
    expect(await gateway.run(transport, LIST)).toEqual({ data: { upscaleTasks: { edges: [] } } })
  other.exec('COMMIT')
  other.close()
  expect(await writing).toMatchObject({ data: { upscaleImage: { task: { status: 'PROCESSING' } } } })
})

test('while another process holds the write lock for too long, each transport reports SERVICE_UNAVAILABLE', async () => {
  await using dir = await openTempDir()
  await using upstream = await startScriptedUpstream()
  await using gateway = await startGateway({
    DATABASE_URL: `file:${dir.path}/g.db`,
    UPSTREAM_URL: upstream.url,
  })
  await gateway.run('HTTP', UPSCALE)
  const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
  const other = new DatabaseSync(`${dir.path}/g.db`)
  other.exec('BEGIN IMMEDIATE')
  const send = (path: string, accept: string) =>
    fetch(gateway.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept },
      body: JSON.stringify({ query: UPSCALE }),
    })
  const [onSocket, ...responses] = await Promise.all([
    gateway.run('WebSocket', UPSCALE),
    send('/graphql', 'application/json'),
    send('/graphql/stream', 'text/event-stream'),
    fetch(callBackUrl, {
      method: 'POST',
      body: JSON.stringify({ code: 500, data: { taskId: 'upstream-1' } }),
    }),
  ])
  const outage = { errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE', retryable: true } }] }
  expect(onSocket).toMatchObject(outage)
  for (const response of responses) {
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '2'])
    expect(await response.json()).toMatchObject(outage)
  }
  other.close()
  expect(await gateway.run('HTTP', UPSCALE)).toMatchObject({ data: { upscaleImage: { task: {} } } })
}, 20_000)

/** From now on no file of the process may grow past so many bytes: what a full disk does to a write. */
const limitFiles = (pid: number | undefined, bytes: number | 'unlimited') =>
  execFileSync('prlimit', ['--pid', String(pid), `--fsize=${bytes}:unlimited`])

const testOnLinux = process.platform === 'linux' ? test : test.skip

testOnLinux(
  'while the disk takes no writes, /readyz is 503, /livez and reads are not; then all goes on by itself',
  async () => {
    await using dir = await openTempDir()
    await using service = await startProcess({ DATABASE_URL: `file:${dir.path}/p.db` })
    const ready = async () => (await fetch(`${service.url}/readyz`)).status
    const become = async (status: number) => {
      const late = AbortSignal.timeout(10_000)
      while ((await ready()) !== status) expect(late.aborted).toBe(false)
    }
    await become(200)
    limitFiles(service.child.pid, 0)
    await become(503)
    expect((await fetch(`${service.url}/livez`)).status).toBe(200)
    expect(await service.run(LIST)).toEqual({ data: { upscaleTasks: { edges: [] } } })
    expect(await service.run(UPSCALE)).toMatchObject({
      errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE', retryable: true, retryAfterMs: 2_000 } }],
    })
    limitFiles(service.child.pid, 'unlimited')
    await become(200)
    expect(await service.run(UPSCALE)).toMatchObject({
      data: { upscaleImage: { task: { status: 'PROCESSING' } } },
    })
  },
)

testOnLinux(
  '/readyz is 503 while the database file is not in its place, and 200 once it is back',
  async () => {
    await using dir = await openTempDir()
    const file = `${dir.path}/g.db`
    await using gateway = await startGateway({ DATABASE_URL: `file:${file}` })
    const becomes = async (status: number) => {
      const late = AbortSignal.timeout(10_000)
      while ((await fetch(`${gateway.url}/readyz`)).status !== status) expect(late.aborted).toBe(false)
    }
    await becomes(200)
    await rename(file, `${file}.old`)
    await becomes(503)
    await copyFile(`${file}.old`, file)
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(503)
    await rename(`${file}.old`, file)
    await becomes(200)
  },
)
