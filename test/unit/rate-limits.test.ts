import { expect, test } from '@jest/globals'
import { createLocalAccountLimit } from '../../src/replicas/account-limit.ts'
import { createMemoryLimiter } from '../../src/replicas/limiters.ts'
import { createRateLimits } from '../../src/replicas/rate-limits.ts'
import { ManualClock } from '../support/clock.ts'

test('submits that the limit of their owner refuses do not delay the queue', async () => {
  const clock = new ManualClock()
  const rates = { owner: { limit: 1, perMs: 60_000 }, engines: { engine: { limit: 10, perMs: 10_000 } } }
  const limits = createRateLimits(rates, clock, createMemoryLimiter, () =>
    createLocalAccountLimit(clock, { limit: 10, perMs: 10_000 }),
  )
  expect(await limits.take('alice', 'engine')).toBeNull()
  // The queue may send one task in a tenth of the window.
  clock.advance(1_000)
  const refused = limits.take('alice', 'engine')
  const queued = limits.takeAccount('engine', true)
  expect(await refused).toMatchObject({ code: 'RATE_LIMITED' })
  expect(await queued).toBeNull()
})
