import { describe, expect, test } from '@jest/globals'
import { createAlarm, startWorker } from '../../src/worker.ts'
import { ManualClock } from '../support/clock.ts'
import { startGateway } from '../support/gateway.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }
const RESULT = 'https://example.com/result.png'
const generating = json(200, { code: 200, data: { successFlag: 0 } })
const UPSCALE = 'mutation { upscaleImage(input: {taskId: "s", imageIndex: 0, force: true}) { task { id } } }'

/** A worker whose rounds are counted, and held up when a test wants it. */
function start(round: () => Promise<Promise<void>[]> = () => Promise.resolve([])) {
  const clock = new ManualClock()
  const alarm = createAlarm()
  let rounds = 0
  const go = () => {
    rounds += 1
    return round()
  }
  const worker = startWorker({ name: 'testing', round: go, alarm, clock, log: silent })
  return { clock, alarm, worker, rounds: () => rounds }
}

async function settle() {
  for (let n = 0; n < 5; n += 1) await new Promise(setImmediate)
}

describe('a worker', () => {
  test('goes round at once, and then every second', async () => {
    const { clock, worker, rounds } = start()
    await settle()
    expect(rounds()).toBe(1)
    clock.advance(999)
    await settle()
    expect(rounds()).toBe(1)
    clock.advance(1)
    await settle()
    expect(rounds()).toBe(2)
    await worker.stop()
  })

  test('goes round when the alarm rings, also when it rang during the last round, and once for many rings', async () => {
    const held = Promise.withResolvers<Promise<void>[]>()
    const { alarm, worker, rounds } = start(() => held.promise)
    alarm.ring()
    alarm.ring()
    held.resolve([])
    await settle()
    expect(rounds()).toBe(2)
    alarm.ring()
    await settle()
    expect(rounds()).toBe(3)
    await worker.stop()
  })

  test('goes on after a round that failed', async () => {
    const { clock, worker, rounds } = start(() => Promise.reject(new Error('the store is away')))
    await settle()
    clock.advance(1_000)
    await settle()
    expect(rounds()).toBe(2)
    await worker.stop()
  })

  test('that is stopped begins nothing and ends when the polls it had started have ended', async () => {
    const poll = Promise.withResolvers<void>()
    const { alarm, clock, worker, rounds } = start(() => Promise.resolve([poll.promise]))
    await settle()
    let stopped = false
    const stopping = worker.stop().then(() => (stopped = true))
    alarm.ring()
    clock.advance(10_000)
    await settle()
    expect([stopped, rounds()]).toEqual([false, 1])
    poll.resolve()
    await stopping
    expect(clock.pending).toBe(0)
  })
})

describe('the service', () => {
  test.each<[string, Record<string, string>, number[]]>([
    ['five times', {}, [5, 10, 12]],
    ['POLLS_PER_SECOND times', { POLLS_PER_SECOND: '7' }, [7, 12]],
  ])('asks the upstream %s in a second, and no more, however much is due', async (_, given, polls) => {
    await using upstream = await startScriptedUpstream()
    const clock = new ManualClock()
    // On a file, whatever the other tests run on: what replicas share counts by the real clock.
    await using dir = await openTempDir()
    const settings = { UPSTREAM_URL: upstream.url, DATABASE_URL: `file:${dir.path}/t.db`, ...given }
    await using gateway = await startGateway(settings, { clock })
    for (let n = 0; n < 12; n += 1) await gateway.run('HTTP', UPSCALE)
    upstream.onLookup = generating
    upstream.received.length = 0
    clock.advance(29_000)
    for (const [second, expected] of polls.entries()) {
      clock.advance(second === 0 ? 1_000 : 1_001)
      while (upstream.received.length < expected) await new Promise(setImmediate)
      // A request that is answered now was sent after all earlier ones arrived.
      await fetch(`${gateway.url}/readyz`)
      expect(upstream.received).toHaveLength(expected)
    }
  })

  test.each([
    ['true', 'PROCESSING'],
    ['false', 'SUCCEEDED'],
  ])(
    'with CALLBACK_CONFIRM=%s leaves a success that record-info does not know %s',
    async (setting, status) => {
      await using upstream = await startScriptedUpstream()
      upstream.onLookup = generating
      await using gateway = await startGateway({ UPSTREAM_URL: upstream.url, CALLBACK_CONFIRM: setting })
      const { data } = await gateway.run<{ upscaleImage: { task: { id: string } } }, never>('HTTP', UPSCALE)
      const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
      const body = JSON.stringify({ code: 200, data: { taskId: 'upstream-1', resultUrls: [RESULT] } })
      expect((await fetch(callBackUrl, { method: 'POST', body })).status).toBe(200)
      const id = data?.upscaleImage.task.id ?? ''
      expect(await gateway.run('HTTP', `{ upscaleTask(id: "${id}") { status } }`)).toEqual({
        data: { upscaleTask: { status } },
      })
    },
  )
})
