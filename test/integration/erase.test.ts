/** The command that erases an owner, as an operator runs it. */
import { readdir } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { runErase } from '../support/erase.ts'
import { startProcess } from '../support/process.ts'
import { json, startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { waitFor } from '../support/wait-for.ts'

const UPSCALE = (taskId: string) =>
  `mutation { upscaleImage(input: {taskId: "${taskId}", imageIndex: 0, idempotencyKey: "key"}) { task { id } } }`
const LIST = '{ upscaleTasks { edges { node { id status images { copyState } } } } }'

let dir: Awaited<ReturnType<typeof openTempDir>>
let upstream: ScriptedUpstream
beforeEach(async () => {
  dir = await openTempDir()
  upstream = await startScriptedUpstream()
})
afterEach(async () => {
  await upstream[Symbol.asyncDispose]()
  await dir[Symbol.asyncDispose]()
})
const url = () => `file:${dir.path}/e.db`
const start = (settings: Record<string, string> = {}) =>
  startProcess({ DATABASE_URL: url(), PUBLIC_URL: 'http://127.0.0.1:1', ...settings })

test('a stopped service loses the tasks of the owner, and at its next start the files of their copies', async () => {
  const settings = {
    UPSTREAM_URL: '',
    RESULT_STORE: `file:${dir.path}/results`,
    RESULT_INSPECT_MS: '5000',
    PUBLIC_URL: '',
  }
  const countFiles = async () =>
    (await readdir(`${dir.path}/results`, { recursive: true })).filter((name) => /[0-9a-f]{64}/.test(name))
      .length
  await using first = await start(settings)
  await first.run(UPSCALE('source'))
  await waitFor(async () => JSON.stringify(await first.run(LIST)).includes('"KEPT"'))
  expect(await countFiles()).toBeGreaterThan(0)
  const refused = await runErase(url(), 'anonymous')
  expect(refused).toEqual({
    code: 1,
    output: expect.stringMatching(/Another process serves .*: stop it first/),
  })
  first.child.kill('SIGTERM')
  await first.exited

  expect(await runErase(url(), 'anonymous')).toEqual({
    code: 0,
    output:
      'Erased "anonymous": 1 task, 1 idempotency key, 0 deliveries, 1 copy (the service deletes the files), 0 entries of usage.\n',
  })
  expect(await runErase(url(), 'anonymous')).toMatchObject({
    code: 0,
    output: expect.stringMatching(/: 0 tasks,/),
  })
  await using second = await start(settings)
  expect(await second.run(LIST)).toEqual({ data: { upscaleTasks: { edges: [] } } })
  await waitFor(async () => (await countFiles()) === 0)
})

test('an owner with an open task is not erased; once it has settled, a late callback is 404 and no error', async () => {
  await using service = await start({ UPSTREAM_URL: upstream.url, TASK_DEADLINE_MS: '600000' })
  await service.run(UPSCALE('source'))
  const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
  const callBack = async (base: string) => {
    const body = JSON.stringify({ code: 500, msg: 'failed', data: { taskId: 'upstream-1' } })
    return (await fetch(base + new URL(callBackUrl).pathname, { method: 'POST', body })).status
  }
  service.child.kill('SIGTERM')
  await service.exited
  expect(await runErase(url(), 'anonymous')).toEqual({
    code: 2,
    output: expect.stringMatching(/^"anonymous" is not erased: 1 task not settled.*Nothing was deleted/),
  })

  upstream.onLookup = json(200, { code: 200, data: { successFlag: 3, errorCode: 500 } })
  await using second = await start({ UPSTREAM_URL: upstream.url })
  expect(await callBack(second.url)).toBe(200)
  second.child.kill('SIGTERM')
  await second.exited
  expect(await runErase(url(), 'anonymous')).toMatchObject({ code: 0 })

  await using third = await start({ UPSTREAM_URL: upstream.url })
  expect(await callBack(third.url)).toBe(404)
  third.child.kill('SIGTERM')
  await third.exited
  expect(third.output()).not.toMatch(/"level":(40|50|60).*callback/)
})

test.each([[[]], [['']], [['two', 'words']]])(
  'erase without exactly one owner is refused: %j',
  async (owners) => {
    expect(await runErase(url(), ...owners)).toEqual({
      code: 1,
      output: expect.stringMatching(/^erase needs one owner/),
    })
  },
)

test('an unknown command is refused, and starts nothing', async () => {
  await using command = await startProcess({ DATABASE_URL: url() }, ['dist/main.js', 'erased'])
  expect(await command.exited).toMatchObject({ code: 1 })
  expect(command.output()).toMatch(/^"erased" is no command/)
})
