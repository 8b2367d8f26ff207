import { once } from 'node:events'
import { describe, expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import type { Delivery } from '../../src/deliveries/outbox.ts'
import { WebSocket } from 'ws'
import { openCore } from '../support/core.ts'
import { openScene } from '../support/scene.ts'
import { json, startScriptedUpstream, text, type Received } from '../support/scripted-upstream.ts'

const SECOND = 1_000
const MINUTE = 60_000
const HOUR = 3_600_000
/** For a test of hundreds of rounds, also on PostgreSQL and a slow machine. */
const ROUNDS_MS = 120_000
/** From below the tolerance between replicas to a clock that had run ahead for days. */
const STEPS = [-MINUTE, -4 * MINUTE, -10 * MINUTE, -HOUR, -72 * HOUR]
const generating = json(200, { code: 200, data: { successFlag: 0 } })

type Core = Awaited<ReturnType<typeof openCore>>

const isLookup = ({ path }: Received) => path.includes('record-info')

/** Moves the clock second by second, with a round of each worker, until it is so; says how long it took. */
async function secondsUntil(core: Core, isSo: () => boolean | Promise<boolean>, atMost: number) {
  for (let seconds = 0; seconds <= atMost; seconds += 1) {
    await core.round()
    await core.deliver()
    if (await isSo()) return seconds
    core.clock.advance(SECOND)
  }
  return Infinity
}

describe.each(STEPS)('when the clock is set back by %i ms', (step) => {
  test(
    'a running task is polled within the time it would have been, or at once',
    async () => {
      await using core = await openCore()
      core.upstream.onLookup = generating
      await core.submit()
      core.clock.advance(10 * SECOND)
      await core.round()
      core.clock.step(step)
      // A step that might be a difference between two replicas is waited for.
      const late = step > -5 * MINUTE ? -step / SECOND : 0
      expect(await secondsUntil(core, () => core.upstream.received.some(isLookup), 600)).toBeLessThanOrEqual(
        20 + late,
      )
    },
    ROUNDS_MS,
  )

  test(
    'a task whose answer was lost fails, late by no more than the step, and by ten minutes',
    async () => {
      await using core = await openCore({ deadlineMs: 10 * MINUTE })
      core.upstream.onCreate = (response) => response.destroy()
      const { task } = await core.submit()
      core.clock.advance(5 * MINUTE)
      await core.round()
      core.clock.step(step)
      const settled = async () => (await core.tasks.find(task?.id ?? ''))?.status === 'FAILED'
      const late = Math.min(-step / SECOND, 10 * 60)
      expect(await secondsUntil(core, settled, 1_200)).toBeLessThanOrEqual(5 * 60 + late)
    },
    ROUNDS_MS,
  )

  test(
    'a receiver that failed is tried again',
    async () => {
      await using core = await openCore()
      await using receiver = await startScriptedUpstream()
      receiver.onCreate = text(500, '')
      core.upstream.onCreate = json(200, { code: 402, msg: 'No.' })
      await core.submit({ callBackUrl: receiver.url })
      await core.deliver()
      core.clock.step(step)
      const late = step > -5 * MINUTE ? -step / SECOND : 0
      expect(await secondsUntil(core, () => receiver.received.length > 1, 600)).toBeLessThanOrEqual(6 + late)
    },
    ROUNDS_MS,
  )
})

test('what another process scheduled by a clock that was ahead is due within a minute', async () => {
  await using core = await openCore()
  await using receiver = await startScriptedUpstream()
  core.upstream.onLookup = generating
  await core.round()
  await core.deliver()
  await using elsewhere = await core.database.open(createLocalHints())
  await core.submit()
  core.upstream.onCreate = json(200, { code: 402, msg: 'No.' })
  await core.submit({ callBackUrl: receiver.url })
  // The other process had claimed both, by a clock an hour ahead, and is gone.
  const ahead = core.clock.now() + HOUR
  expect(await elsewhere.store.claimDue(ahead, ahead + 11_000, 10)).toHaveLength(1)
  const none = { hosts: [], owners: [] }
  const claimed: Delivery[] = await elsewhere.outbox.claimDue(ahead, ahead + 12_000, 10, none)
  expect(claimed).toHaveLength(1)
  const done = () => core.upstream.received.some(isLookup) && receiver.received.length === 1
  expect(await secondsUntil(core, done, 120)).toBeLessThanOrEqual(60)
})

test('a process that starts after the clock was set back claims what is running at once', async () => {
  await using core = await openCore()
  core.upstream.onLookup = generating
  const { task } = await core.submit()
  await using restarted = await core.database.open(createLocalHints())
  const earlier = core.clock.now() - HOUR
  const claimed = await restarted.store.claimDue(earlier, earlier + 11_000, 10, earlier + HOUR)
  expect(claimed.map(({ id }) => id)).toEqual([task?.id])
})

describe('on a running service whose clock is set back by an hour', () => {
  test('subscribers are shown the state again after 15 s, and idle sockets are closed after ten minutes', async () => {
    await using scene = await openScene()
    scene.upstream.onLookup = generating
    const { id } = await scene.submit()
    const open = async () => {
      const socket = new WebSocket(
        `${scene.gateway.url}/graphql`.replace('http', 'ws'),
        'graphql-transport-ws',
      )
      await once(socket, 'open')
      const acknowledged = once(socket, 'message')
      socket.send('{"type":"connection_init"}')
      await acknowledged
      return socket
    }
    const [idle, following] = [await open(), await open()]
    const query = `subscription { taskUpdated(id: "${id}") { version } }`
    const [before, shown] = [scene.clock.pending, once(following, 'message')]
    following.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }))
    await shown
    while (scene.clock.pending === before) await new Promise(setImmediate)
    scene.clock.step(-HOUR)
    const again = once(following, 'message')
    scene.clock.advance(15 * SECOND)
    expect(JSON.parse(String((await again)[0]))).toMatchObject({
      payload: { data: { taskUpdated: { version: 2 } } },
    })
    const closed = once(idle, 'close')
    scene.clock.advance(10 * MINUTE)
    expect((await closed)[0]).toBe(1000)
    following.terminate()
  })

  test('the credits are asked for again after 30 s', async () => {
    await using scene = await openScene()
    scene.upstream.onLookup = json(200, { code: 200, data: 1 })
    const credits = async () => {
      const { data } = await scene.gateway.run('HTTP', '{ upscaleService { credits } }')
      return data as { upscaleService: { credits: number } }
    }
    expect((await credits()).upscaleService.credits).toBe(1)
    scene.upstream.onLookup = json(200, { code: 200, data: 2 })
    scene.clock.step(-HOUR)
    expect((await credits()).upscaleService.credits).toBe(1)
    scene.clock.advance(30 * SECOND)
    expect((await credits()).upscaleService.credits).toBe(2)
  })
})

test('a replay waits for the first answer no longer than that may take, also when the clock is set back', async () => {
  await using core = await openCore({ submitTimeoutMs: 30 * SECOND })
  const asked = Promise.withResolvers<() => void>()
  core.upstream.onCreate = (response, request) =>
    asked.resolve(() => {
      json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request)
    })
  const first = core.submit({ force: false })
  const answer = await asked.promise
  const before = core.clock.pending
  const replay = core.submit({ force: false })
  while (core.clock.pending === before) await new Promise(setImmediate)
  core.clock.step(-HOUR)
  core.clock.advance(30 * SECOND)
  expect(await replay).toMatchObject({ replayed: true, task: { status: 'SUBMITTED' } })
  answer()
  await first
})
