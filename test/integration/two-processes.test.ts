import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { expect, test } from '@jest/globals'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

test('of 100 identical submits from two processes at once one is sent, and all are one task', async () => {
  await using dir = await openTempDir()
  await using upstream = await startScriptedUpstream()
  const workers = [1, 2].map(() => {
    const args = ['--import', 'tsx', 'test/support/submit-worker.ts', `${dir.path}/t.db`, upstream.url, '50']
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
    return { child, next: async () => String((await lines.next()).value) }
  })
  for (const { next } of workers) expect(await next()).toBe('ready')
  for (const { child } of workers) child.stdin.write('go\n')
  const told = await Promise.all(workers.map(({ next }) => next()))
  const submissions = told.flatMap((line) => JSON.parse(line) as [id: string, replayed: boolean][])
  expect(submissions).toHaveLength(100)
  expect(new Set(submissions.map(([id]) => id)).size).toBe(1)
  expect(submissions.filter(([, replayed]) => !replayed)).toHaveLength(1)
  expect(upstream.received).toHaveLength(1)
})
