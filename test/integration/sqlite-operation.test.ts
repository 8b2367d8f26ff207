import { execFileSync } from 'node:child_process'
import { copyFile, rename } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from '@jest/globals'
import { startGateway } from '../support/gateway.ts'
import { startProcess } from '../support/process.ts'
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
      errors: [{ extensions: { code: 'INTERNAL_SERVER_ERROR' } }],
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
