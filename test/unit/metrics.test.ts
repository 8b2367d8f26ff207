import { readFile } from 'node:fs/promises'
import { expect, test } from '@jest/globals'
import { createMetrics } from '../../src/metrics/metrics.ts'
import { readVersions, systemClock } from '../../src/system.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }
const create = () => createMetrics({ clock: systemClock, log: silent, versions: readVersions() })
const read = async ({ render }: ReturnType<typeof create>) => (await render()).text.split('\n')

test('a hint from a replica whose clock is ahead has a negative age', async () => {
  const metrics = create()
  metrics.onHint(-50)
  metrics.onHint(2)
  const lines = await read(metrics)
  for (const [le, count] of [
    ['-0.1', 0],
    ['-0.01', 1],
    ['0', 1],
    ['0.005', 2],
  ])
    expect(lines).toContain(`upscale_hint_lag_seconds_bucket{le="${le}"} ${count}`)
  expect(lines).toContain('upscale_hint_lag_seconds_sum -0.048')
})

test('the build is named by the version of the package and of Node.js', async () => {
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string }
  expect(await read(create())).toContain(
    `upscale_build_info{version="${version}",node="${process.version}"} 1`,
  )
})

test.each([
  [undefined, []],
  [true, ['upscale_hint_listener_up 1']],
  [false, ['upscale_hint_listener_up 0']],
])('a hint listener that is up (%s) is shown only where replicas share hints', async (up, expected) => {
  const metrics = create()
  const connections = {
    sockets: () => ({ open: 0, operations: 0 }),
    streams: () => 0,
    pool: () => undefined,
    hintsUp: () => up,
  }
  const database = {
    store: {
      countByStatus: () => Promise.resolve({}),
      readOverdue: () => Promise.resolve({ count: 0, oldestDueAt: null }),
    },
    queueStore: { readBacklog: () => Promise.resolve({ count: 0, oldestCreatedAt: null }) },
    outbox: { readBacklog: () => Promise.resolve({ count: 0, oldestDueAt: null }) },
  }
  metrics.observe({ connections, database })
  const lines = (await read(metrics)).filter((line) => line.startsWith('upscale_hint_listener_up'))
  expect(lines).toEqual(expected)
})
