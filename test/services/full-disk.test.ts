import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { afterAll, describe, expect, test } from '@jest/globals'
import { startProcess } from '../support/process.ts'
import { startPostgres } from '../support/servers.ts'
import { openTempDir } from '../support/temp-dir.ts'

const dir = await openTempDir()
/** A small disk, which only root can make, and not in every container. */
const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=120m', 'tmpfs', dir.path]).status === 0
const describeOnSmallDisk = isMounted ? describe : describe.skip
afterAll(async () => {
  if (isMounted) execFileSync('umount', [dir.path])
  await dir[Symbol.asyncDispose]()
})

/** Writes until there is no space left. */
async function fillDisk(file: string): Promise<void> {
  await using handle = await open(file, 'w')
  const isFull = ({ code }: { code?: string }) => code === 'ENOSPC'
  for (let size = 1 << 20; size >= 512;) {
    const full = await handle.appendFile(Buffer.alloc(size)).then(() => false, isFull)
    if (full) size /= 2
  }
}

describeOnSmallDisk('when the disk is full (needs root and mount)', () => {
  test.each(['SQLite', 'PostgreSQL'])(
    '/readyz of a service on %s is 503 once a write was refused, and 200 when there is space again',
    async (kind) => {
      chmodSync(dir.path, 0o755)
      await using opened = new AsyncDisposableStack()
      const url = kind === 'SQLite' ? `file:${dir.path}/a.db` : opened.use(await startPostgres(dir.path)).url
      await using service = await startProcess({
        DATABASE_URL: url,
        OWNER_RATE_LIMIT: '0',
        UPSTREAM_RATE_LIMIT: '0',
      })
      const submit = async () => {
        const waterMark = randomBytes(90).toString('base64')
        const input = `{taskId: "sandbox-code-402", imageIndex: 0, force: true, waterMark: "${waterMark}"}`
        return JSON.stringify(
          await service.run(`mutation { upscaleImage(input: ${input}) { problem { code } } }`),
        )
      }
      const become = async (status: number) => {
        const late = AbortSignal.timeout(15_000)
        while ((await fetch(`${service.url}/readyz`)).status !== status) expect(late.aborted).toBe(false)
      }
      const written = '{"data":{"upscaleImage":{"problem":{"code":"INSUFFICIENT_CREDITS"}}}}'
      expect(await submit()).toBe(written)
      await become(200)
      await fillDisk(`${dir.path}/fill`)
      while ((await submit()) === written);
      await become(503)
      expect((await fetch(`${service.url}/livez`)).status).toBe(200)
      await rm(`${dir.path}/fill`)
      await become(200)
      expect(await submit()).toBe(written)
    },
    60_000,
  )
})
