import { expect, test } from '@jest/globals'
import { systemSecrets } from '../../src/system.ts'
import { openCore } from '../support/core.ts'
import { newTask } from '../support/new-task.ts'
import { json } from '../support/scripted-upstream.ts'
import { waitFor } from '../support/wait-for.ts'

const SECOND = 1_000

test('a replay that waits for a replica that has died shows the task once the lease of that replica has lapsed', async () => {
  await using core = await openCore()
  const now = core.clock.now()
  // What a replica leaves behind that is killed while the paid request runs.
  const left = newTask({
    pictureDigest: systemSecrets.digest(JSON.stringify(['picture', 'owner', 'source', 0, null])),
    createdAt: now,
    answerBy: now + 6 * SECOND,
    deadlineAt: now + 1_800 * SECOND,
  })
  await core.store.insert(left, {})
  const replay = core.submit({ force: false })
  // The replay arms its timer once it has found the task.
  await waitFor(() => core.clock.pending > 0)
  core.clock.advance(6 * SECOND)
  expect(await replay).toMatchObject({ replayed: true, task: { id: left.id, status: 'SUBMITTED' } })
  expect(core.upstream.received).toEqual([])
})

test('a replay waits for a replica that is alive for as long as the paid request may take', async () => {
  await using core = await openCore()
  const answering = Promise.withResolvers<() => void>()
  core.upstream.onCreate = (response, request) =>
    answering.resolve(() => json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request))
  const first = core.submit({ force: false })
  const answer = await answering.promise
  const replay = core.submit({ force: false })
  const [task] = await core.tasks.list({ owner: 'owner', status: null, after: null, limit: 1 })
  for (let second = 0; second < 20; second += 1) {
    core.clock.advance(SECOND)
    await waitFor(async () => {
      const current = await core.store.read(task?.id ?? '')
      return (current?.answerBy ?? 0) > core.clock.now() + 3 * SECOND
    })
  }
  answer()
  await first
  expect(await replay).toMatchObject({ replayed: true, task: { status: 'PROCESSING' } })
  expect(core.upstream.received).toHaveLength(1)
})
