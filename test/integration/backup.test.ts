/** Backup and restore of a SQLite file, by the commands of docs/runbook.md. */
import { execFileSync } from 'node:child_process'
import { copyFile, readFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from '@jest/globals'
import { BACKUP_SETTINGS, expectRestored, submit } from '../support/backup-scene.ts'
import { startProcess } from '../support/process.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

test('a task that waits in a restored queue is not sent again, once it is marked as sent', async () => {
  await using dir = await openTempDir()
  await using upstream = await startScriptedUpstream()
  upstream.onCreate = json(200, { code: 455, msg: 'maintenance', data: null })
  const settings = { ...BACKUP_SETTINGS, UPSTREAM_URL: upstream.url, DATABASE_URL: `file:${dir.path}/q.db` }
  await using service = await startProcess(settings)
  const { data } = (await service.run(
    'mutation { upscaleImage(input: { taskId: "a", imageIndex: 0, queue: true }) { task { id queue { position } } } }',
  )) as { data: { upscaleImage: { task: { id: string; queue: { position: number } } } } }
  const { id, queue } = data.upscaleImage.task
  expect(queue.position).toBe(1)
  service.child.kill('SIGTERM')
  await service.exited

  const runbook = await readFile('docs/runbook.md', 'utf8')
  const [statement = ''] = /UPDATE task SET "queueRank"[^;`]+/.exec(runbook) ?? []
  using sqlite = new DatabaseSync(`${dir.path}/q.db`)
  expect(sqlite.prepare(statement).run().changes).toBe(1)
  sqlite.close()
  await using restored = await startProcess(settings)
  expect(await restored.run(`mutation { cancelUpscale(id: "${id}") { status } }`)).toMatchObject({
    errors: [{ extensions: { code: 'TOO_LATE_TO_CANCEL' } }],
  })
  expect(await restored.run(`{ upscaleTask(id: "${id}") { status queue { position } } }`)).toEqual({
    data: { upscaleTask: { status: 'SUBMITTED', queue: null } },
  })
})

test('a backup that is made while the service runs has its tasks, keys and deliveries', async () => {
  await using dir = await openTempDir()
  await using upstream = await startScriptedUpstream()
  const settings = { ...BACKUP_SETTINGS, UPSTREAM_URL: upstream.url, PUBLIC_URL: 'http://127.0.0.1:1' }
  await using service = await startProcess({ ...settings, DATABASE_URL: `file:${dir.path}/live.db` })
  const before = { ...(await submit(service, 'before')), name: 'before' }
  const backUp = `new (require('node:sqlite').DatabaseSync)('${dir.path}/live.db').exec("VACUUM INTO '${dir.path}/backup.db'")`
  execFileSync(process.execPath, ['-e', backUp])
  const after = await submit(service, 'after')
  service.child.kill('SIGKILL')
  await service.exited

  await copyFile(`${dir.path}/backup.db`, `${dir.path}/restored.db`)
  await using restored = await startProcess({ ...settings, DATABASE_URL: `file:${dir.path}/restored.db` })
  await expectRestored(restored, [before])
  // What came after the backup is unknown: its callback is 404, and the same key pays again.
  const { callBackUrl } = JSON.parse(upstream.received[1]?.body ?? '') as { callBackUrl: string }
  expect(callBackUrl).toContain(after.id)
  const callback = { method: 'POST', body: JSON.stringify({ code: 500, data: { taskId: 'upstream-1' } }) }
  expect((await fetch(restored.url + new URL(callBackUrl).pathname, callback)).status).toBe(404)
  expect(await submit(restored, 'after')).toMatchObject({ replayed: false })
  expect(upstream.received.filter(({ method }) => method === 'POST')).toHaveLength(3)
})
